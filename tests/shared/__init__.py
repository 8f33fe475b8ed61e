"""The database of the project or of its user: its address, its fixtures."""
