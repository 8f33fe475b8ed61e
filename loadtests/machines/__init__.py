"""Where it runs: this machine or others over ssh, what they are, who holds which CPU."""
