"""Tokenizer, prompts, packing."""
