"""Deletion requests: a hash-chained audit log, deadlines, policies. Everything here works without torch."""
