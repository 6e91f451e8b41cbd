"""The command line of mux: what a person types and sees. It decides nothing; ``runtime`` does."""
