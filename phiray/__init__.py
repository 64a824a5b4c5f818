"""Build a Phi-2 vision-language model from nothing, and say how good it is."""

__version__ = "0.1.0"
