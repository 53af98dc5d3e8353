"""Complete recipes to start from. Installs as ``unlearnkit.examples``."""
