"""Ray Train jobs: joins a stage with its pipeline."""
