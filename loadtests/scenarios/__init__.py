"""Programs and people instead of one hammered URL: locust, and the sleep demonstration."""
