"""Reports for people: pages and figures made of certificates. Empty so far."""
