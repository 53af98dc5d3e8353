"""The officer's layer, without torch: an audit log, a policy, deletion requests, and the workspace that holds them."""
