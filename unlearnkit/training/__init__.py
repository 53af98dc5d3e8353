"""A training run: described, repeated without some data, and fingerprinted."""
