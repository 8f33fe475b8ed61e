"""locust and the demonstration, really run."""
