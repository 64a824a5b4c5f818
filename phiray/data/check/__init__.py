"""`phiray data check`."""
