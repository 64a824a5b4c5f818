"""Readers of the downloads: from files on disk to records."""
