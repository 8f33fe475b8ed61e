"""What the tests read."""
