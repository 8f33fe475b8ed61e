"""Each app, copied elsewhere, by its own tests."""
