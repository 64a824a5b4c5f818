"""Bytes to pixels: one function for training, evaluation and export."""
