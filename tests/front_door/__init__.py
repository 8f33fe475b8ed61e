"""make and its targets: on other people's machines, in their environments, on systems that lack something."""
