"""Deletion requests: their steps, the register that the log tells, and the desk where they are worked on."""
