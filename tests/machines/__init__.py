"""A battle over three machines that are network namespaces."""
