"""Some of the cases of make faults on every stack, and that they find what they are there to find."""
