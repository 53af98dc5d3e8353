"""The command line: a thin skin over the library, with the same words. Installs as ``unlearnkit.cli``."""
