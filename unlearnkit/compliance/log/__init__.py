"""The audit log: a hash-chained file of entries, signed checkpoints over it, and proofs for others."""
