"""Machines: which CPUs, an agent, a connection to it, and a battle over three that are network namespaces."""
