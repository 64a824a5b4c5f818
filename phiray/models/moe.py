"""The mixture of experts after the MLP: with m the MLP's output, the block uses m + moe(m).

Source: Switch Transformer (arXiv 2101.03961), ST-MoE (2202.08906), balancing without a loss
(2408.15664), soft mixing as in the student project.
Limits: nothing is dropped, so there is no capacity factor; experts have no biases.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own customary name)
from torch import Tensor, nn

from phiray.config.model import MoeConfig
from phiray.models.dispatch import mix_experts, multiply_by_expert
from phiray.models.packed import PackedRows


@dataclass(frozen=True)
class Routing:
    """What one router decided for each token."""

    router_logits: Tensor
    """(batch, seq, experts) fp32."""
    router_probabilities: Tensor
    """(batch, seq, experts) fp32, softmax of the logits."""
    expert_indices: Tensor
    """(batch, seq, k) int64."""
    expert_weights: Tensor
    """(batch, seq, k) fp32."""

    def unpacked(self, packed: PackedRows) -> "Routing":
        """Return the same by row, of tokens that were routed in packed sequences."""
        return Routing(
            router_logits=packed.unpack(self.router_logits),
            router_probabilities=packed.unpack(self.router_probabilities),
            expert_indices=packed.unpack(self.expert_indices),
            expert_weights=packed.unpack(self.expert_weights),
        )


class Router(nn.Module):
    """Choose experts for each token by itself: no other position is looked at."""

    bias: Tensor

    def __init__(self, config: MoeConfig, *, hidden_size: int) -> None:
        """Make the scoring matrix; `bias` only shifts which experts are chosen."""
        super().__init__()
        self.num_chosen = _num_chosen(config)
        self.weight = nn.Parameter(torch.empty(config.num_experts, hidden_size))
        self.register_buffer("bias", torch.zeros(config.num_experts))
        nn.init.normal_(self.weight, std=hidden_size**-0.5)

    def forward(self, hidden_states: Tensor) -> Routing:
        """Score and choose in fp32, whatever the precision around it.

        Args:
            hidden_states: (batch, seq, hidden).
        """
        with torch.autocast(hidden_states.device.type, enabled=False):
            logits = F.linear(hidden_states.float(), self.weight.float())  # (batch, seq, experts)
            probabilities = logits.softmax(dim=-1)  # (batch, seq, experts)
        scores = probabilities.detach() + self.bias
        indices = scores.topk(self.num_chosen, dim=-1).indices  # (batch, seq, k)
        weights = probabilities.gather(-1, indices)  # (batch, seq, k)
        if self.num_chosen > 1:
            # A single choice keeps its probability (as in Switch): normalised it would always be
            # 1, and the router would learn nothing from the tokens.
            weights = weights / weights.sum(dim=-1, keepdim=True)
        return Routing(
            router_logits=logits,
            router_probabilities=probabilities,
            expert_indices=indices,
            expert_weights=weights,
        )


class MixtureOfExperts(nn.Module):
    """Experts over stacked weights; the last layer starts at zero, so the block is unchanged."""

    def __init__(self, config: MoeConfig, *, hidden_size: int) -> None:
        """Make router and experts."""
        super().__init__()
        self.kind = config.kind
        self.num_experts = config.num_experts
        inner = config.intermediate_size
        self.router = Router(config, hidden_size=hidden_size)
        self.fc1 = nn.Parameter(torch.empty(config.num_experts, hidden_size, inner))
        self.fc2 = nn.Parameter(torch.zeros(config.num_experts, inner, hidden_size))
        nn.init.normal_(self.fc1, std=hidden_size**-0.5)

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Routing]:
        """Mix the experts' answers to the MLP's output.

        Args:
            hidden_states: (batch, seq, hidden).

        Returns:
            What to add to it, (batch, seq, hidden), and how each token was routed.
        """
        routing: Routing = self.router(hidden_states)
        if self.kind == "soft":
            return self._mix_all(hidden_states, routing), routing
        mixed = mix_experts(
            hidden_states.flatten(0, 1),  # (tokens, hidden)
            routing.expert_indices.flatten(0, 1),  # (tokens, k)
            expert_weights=routing.expert_weights.flatten(0, 1),  # (tokens, k)
            num_experts=self.num_experts,
            run_experts=self._run_experts,
        )
        return mixed.view(hidden_states.shape), routing  # (batch, seq, hidden)

    def _run_experts(self, slots: Tensor, counts: list[int]) -> Tensor:
        parts = multiply_by_expert(slots, self.fc1, counts=counts)
        wide = F.gelu(torch.cat(parts), approximate="tanh")  # (slots, intermediate)
        return torch.cat(multiply_by_expert(wide, self.fc2, counts=counts))  # (slots, hidden)

    def _mix_all(self, hidden_states: Tensor, routing: Routing) -> Tensor:
        # (batch, experts, seq, intermediate):
        wide = torch.einsum("bsh,ehi->besi", hidden_states, self.fc1)
        wide = F.gelu(wide, approximate="tanh")
        shares = routing.router_probabilities.to(wide.dtype)  # (batch, seq, experts)
        shares = shares.transpose(1, 2).unsqueeze(-1)  # (batch, experts, seq, 1)
        return torch.einsum("besi,eih->bsh", wide * shares, self.fc2)  # (batch, seq, hidden)


def _num_chosen(config: MoeConfig) -> int:
    return config.num_experts if config.kind == "soft" else config.num_experts_per_token
