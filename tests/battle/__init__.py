"""Battles of servers of known behaviour: the bench must say what each of them is."""
