"""Phi, mixture of experts, LitGPT, CLIP, projectors, and how they are joined."""
