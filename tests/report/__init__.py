"""The report's page, as text and in a real browser."""
