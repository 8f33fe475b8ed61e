"""The bench: prepare an app, start a stack of it, load it, watch it, report it."""
