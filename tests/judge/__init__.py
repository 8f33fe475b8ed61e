"""The pure half of the bench, by tables."""
