"""A battle from the make variables to the last word: plan, rounds, one cell, terminal."""
