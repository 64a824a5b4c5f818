"""Phi's MLP: two layers with the tanh form of GELU.

Source: PhiMLP of transformers (`gelu_new`).
Limits: no gate, no dropout.
"""

import torch.nn.functional as F  # noqa: N812 (torch's own customary name)
from torch import Tensor, nn

from phiray.config.model import PhiConfig


class Mlp(nn.Module):
    """Widen, activate, narrow."""

    def __init__(self, config: PhiConfig) -> None:
        """Make the two layers."""
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map (batch, seq, hidden) -> (batch, seq, hidden)."""
        wide = F.gelu(self.fc1(hidden_states), approximate="tanh")  # (batch, seq, intermediate)
        output: Tensor = self.fc2(wide)  # (batch, seq, hidden)
        return output
