"""A privacy officer's work in a workspace: what the commands, the demo and a notebook call."""
