"""Copies of data on a node's own disk."""
