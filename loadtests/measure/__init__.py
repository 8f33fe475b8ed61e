"""What counts: wrk, the second observer, mongod's own counters, what processes cost."""
