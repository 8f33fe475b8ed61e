"""What is measured, defined once; and the file that keeps it."""
