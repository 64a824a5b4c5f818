"""A display for tests that look at something else."""

from phiray.training.metrics_log import Record


class SilentDisplay:
    """Shows nothing."""

    def progress(self, description: str, done: int, total: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def step(self, run: str, record: Record, max_steps: int) -> None:
        pass
