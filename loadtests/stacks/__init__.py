"""What can be run: the catalogue of stacks.toml, its set-up, and a started server."""
