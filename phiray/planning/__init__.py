"""Closed-form estimates from the settings: parameters, memory, FLOPs, time and cost."""
