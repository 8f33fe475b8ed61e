"""docs/contract.md, black box, with the stack as the parameter."""
