"""From the settings to worker processes that serve: sockets, limits, forking, stopping. Edit it rarely."""
