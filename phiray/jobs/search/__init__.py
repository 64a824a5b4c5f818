"""Ray Tune searches."""
