"""The learning rate of a step: linear warm-up, then a cosine.

Source: SGDR (arXiv 1608.03983) without restarts; warm-up as in GPT-3.
Limits: a pure function of the step, so a resumed run needs no state of it.
"""

import math

from phiray.config.training import TrainingConfig


def learning_rate_at(training: TrainingConfig, step: int) -> float:
    """Return the learning rate of a step.

    Args:
        training: `learning_rate`, `warmup_steps`, `max_steps`, `min_learning_rate_fraction`.
        step: steps done before this one, from 0. Step `warmup_steps` has the full rate, and the
            last step, `max_steps - 1`, the least.
    """
    peak = training.learning_rate
    if step < training.warmup_steps:
        return peak * (step + 1) / (training.warmup_steps + 1)
    steps = max(1, training.max_steps - 1 - training.warmup_steps)
    fraction = min(1.0, (step - training.warmup_steps) / steps)
    lowest = training.min_learning_rate_fraction
    return peak * (lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * fraction)))
