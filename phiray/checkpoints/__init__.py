"""Committed, verified checkpoints: safetensors and JSON only."""
