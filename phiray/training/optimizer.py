"""Fused AdamW over the trainable parameters.

Source: arXiv 1711.05101; weight decay on matrices only, as in GPT-3's public re-implementations.
Limits: fp32 weights and moments: 16 bytes per trainable parameter with the gradient.
"""

import torch
from torch import nn

from phiray.config.training import TrainingConfig
from phiray.errors import ConfigError


def build_optimizer(module: nn.Module, *, training: TrainingConfig) -> torch.optim.AdamW:
    """Build AdamW over every parameter that is trainable; matrices decay, the rest does not.

    Raises:
        ConfigError: if nothing is trainable.
    """
    embeddings = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    if not named:
        raise ConfigError(
            "The model has no trainable parameter; this stage froze all of them. "
            "Choose a stage that trains something."
        )
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in named:
        # a stack of the experts' biases has two dimensions, yet it is no matrix
        is_matrix = parameter.ndim >= 2 and "bias" not in name.rsplit(".", maxsplit=1)[-1]
        (decayed if is_matrix and id(parameter) not in embeddings else plain).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": training.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=training.learning_rate,
        betas=(training.beta1, training.beta2),
        fused=True,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
