"""Truncated power series of tensors, and any torch function traced and run over them: the engine of a sketch."""
