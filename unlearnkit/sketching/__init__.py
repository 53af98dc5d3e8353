"""From a recipe to a bundle: forward directions, reverse sweeps, informed directions."""
