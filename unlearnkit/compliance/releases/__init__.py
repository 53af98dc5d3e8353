"""Releases: the models in use, each with the bundle that tells what it would be without somebody's data."""
