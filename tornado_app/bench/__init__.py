"""Programs that measure the app. The service imports nothing from here."""
