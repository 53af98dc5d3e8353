"""Whether a sketch tells the truth: replays of its directions, and retrainings of drawn deletions."""
