"""What is measured, defined once: counts, figures, a whole battle; the file that keeps it, and its words."""
