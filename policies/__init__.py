"""Deletion policies as TOML files, read as package data. Installs as ``unlearnkit.policies``."""
