"""The experiments of the paper (arXiv 2604.07328) from this engine: one command each, a figure and a table."""
