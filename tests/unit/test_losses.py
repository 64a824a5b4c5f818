import pytest
import torch
from torch import Tensor
from transformers.loss.loss_utils import ForCausalLMLoss

import phiray.losses
from phiray.losses import next_token_losses, token_nats
from phiray.types import IGNORE_INDEX

VOCAB_SIZE = 13


def _inputs() -> tuple[Tensor, Tensor, torch.nn.Linear]:
    torch.manual_seed(0)
    hidden_states = torch.randn(3, 9, 6, requires_grad=True)
    labels = torch.randint(0, VOCAB_SIZE, (3, 9))
    labels[0, :4] = IGNORE_INDEX
    labels[2] = IGNORE_INDEX
    return hidden_states, labels, torch.nn.Linear(6, VOCAB_SIZE)


def test_mean_loss_and_gradients_equal_transformers() -> None:
    hidden_states, labels, head = _inputs()
    losses = next_token_losses(hidden_states, labels, project=head)
    loss = losses.sums.sum() / losses.counts.sum()
    expected = ForCausalLMLoss(head(hidden_states), labels, VOCAB_SIZE)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    leaves = (hidden_states, head.weight, head.bias)
    ours = torch.autograd.grad(loss, leaves)
    theirs = torch.autograd.grad(expected, leaves)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_counts_leave_out_the_first_column_and_ignored_labels() -> None:
    hidden_states, labels, head = _inputs()
    losses = next_token_losses(hidden_states, labels, project=head)
    assert losses.counts.tolist() == [5, 8, 0]
    assert losses.sums[2] == 0


def test_sum_equals_log_of_a_uniform_vocabulary() -> None:
    labels = torch.tensor([[1, 2, 3]])
    losses = next_token_losses(
        torch.randn(1, 3, 6), labels, project=lambda states: torch.zeros(*states.shape[:-1], 8)
    )
    assert losses.sums.item() == pytest.approx(2 * torch.tensor(8.0).log().item())


def test_pieces_give_the_same_losses_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden_states, labels, head = _inputs()
    leaves = (hidden_states, head.weight, head.bias)
    results = []
    for limit in (2**25, 4 * VOCAB_SIZE):  # all at once; four positions a piece
        monkeypatch.setattr(phiray.losses, "MAX_LOGITS", limit)
        sums = next_token_losses(hidden_states, labels, project=head).sums
        results.append((sums, *torch.autograd.grad(sums.square().sum(), leaves)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)


def test_no_more_logits_than_the_limit_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden_states, labels, head = _inputs()
    monkeypatch.setattr(phiray.losses, "MAX_LOGITS", 4 * VOCAB_SIZE)
    sizes = []

    def project(states: Tensor) -> Tensor:
        sizes.append(len(states))
        logits: Tensor = head(states)
        return logits

    next_token_losses(hidden_states, labels, project=project)
    assert sizes == [0, 4, 4, 4, 1]


def test_batch_without_labels_keeps_the_graph() -> None:
    hidden_states, labels, head = _inputs()
    losses = next_token_losses(hidden_states, torch.full_like(labels, IGNORE_INDEX), project=head)
    torch.autograd.backward(losses.sums.sum())
    assert losses.counts.tolist() == [0, 0, 0]
    assert head.weight.grad is not None
    assert head.weight.grad.abs().sum() == 0
    assert hidden_states.grad is not None


def test_token_nats_stand_at_their_label_and_sum_to_the_rows() -> None:
    hidden_states, labels, head = _inputs()
    nats = token_nats(hidden_states, labels, project=head)
    logits = head(hidden_states)
    assert nats.shape == labels.shape
    torch.testing.assert_close(
        nats[1, 5], -logits[1, 4].log_softmax(dim=-1)[labels[1, 5]], rtol=1e-5, atol=1e-5
    )
    assert ((nats > 0) == ((labels != IGNORE_INDEX) & (torch.arange(9) > 0))).all()
    sums = next_token_losses(hidden_states, labels, project=head).sums
    torch.testing.assert_close(nats.sum(dim=1), sums, rtol=1e-5, atol=1e-5)


def test_losses_are_fp32_from_bf16_states() -> None:
    hidden_states, labels, head = _inputs()
    losses = next_token_losses(hidden_states.bfloat16(), labels, project=head.to(torch.bfloat16))
    assert losses.sums.dtype == torch.float32


def test_pieces_under_autocast_are_no_further_from_fp32_than_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    head, vocab_size = torch.nn.Linear(32, 64), 64
    hidden_states = torch.randn(1, 1025, 32)
    labels = torch.randint(0, vocab_size, (1, 1025))
    gradients = []
    for limit, is_half in ((2**25, False), (2**25, True), (16 * vocab_size, True)):
        monkeypatch.setattr(phiray.losses, "MAX_LOGITS", limit)  # 64 pieces the last time
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_half):
            sums = next_token_losses(hidden_states, labels, project=head).sums
        gradients.append(torch.autograd.grad(sums.sum(), head.weight)[0])
    exact, whole, pieces = gradients
    assert 0 < (pieces - exact).norm() <= (whole - exact).norm()
