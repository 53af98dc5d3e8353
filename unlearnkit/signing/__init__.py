"""Keys and signatures: DSSE envelopes, in-toto statements, OpenSSF model signatures, C2SP signed notes.

Bytes in, verified values out. The modules are the interface: `keys`, `passphrase`, `dsse`, `statement`,
`model_signature` and `note`.
"""
