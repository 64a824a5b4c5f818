"""Held-out evaluation: metrics, intervals, comparisons, reports."""
