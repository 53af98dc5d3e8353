"""Other people's training loops, ridden along with and read for what a recipe needs."""
