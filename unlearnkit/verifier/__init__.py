"""The auditor's layer: certificates, what they claim and rest on, and how each is verified offline. Without torch."""
