"""Deletion requests: a hash-chained audit log, deadlines, policies. Everything here works without torch.

The modules are the interface. The log: `log` (record), `checkpoint`, `publication` and `proof` (sign and prove),
`verification`, `tiles` (export). Requests: `desk` (take and work on them), `requests` (what the log says), `policy`,
`deadlines`, `erasure`. Both: `workspace`, `trust`.
"""
