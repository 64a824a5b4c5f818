"""Settings: what a run is, checked before anything starts."""
