"""The built-in data: pictures, captions, conversations, books, a tokenizer and a small CLIP."""
