"""A small checkpoint for the tests of this folder."""

from pathlib import Path

import torch

from phiray.checkpoints.commit import commit_checkpoint

TEXTS = {"config.yaml": "stage: scratch\n", "ledger.json": '{"book": [1]}'}


def commit_small(run_dir: Path, *, step: int, attempt: int = 0, fill: float = 0.0) -> Path:
    """Commit two weights and one moment."""
    return commit_checkpoint(
        run_dir,
        step=step,
        attempt=attempt,
        tensors={
            "model": {"weight": torch.full((2, 3), fill), "bias": torch.arange(3.0)},
            "optimizer": {"exp_avg/weight": torch.full((2, 3), fill / 2)},
        },
        state={"step": step, "epoch": 0},
        texts=TEXTS,
    )
