"""Rows that stand end to end are computed as if each were alone."""

import pytest
import torch
from torch import Tensor

from phiray.data.row_packing import packed_index
from phiray.models.packed import PackedRows
from tests.model_builders import moe_config, random_ids, tiny_phi

LENGTHS = [3, 11, 0, 7, 5, 12]
SEQ = 16


def index_of(lengths: list[int] = LENGTHS) -> Tensor:
    return torch.from_numpy(packed_index(lengths, seq=SEQ, max_length=24))


def mask_of(lengths: list[int] = LENGTHS) -> Tensor:
    return (torch.arange(SEQ) < torch.tensor(lengths)[:, None]).long()


def test_pack_and_unpack_give_back_every_real_position() -> None:
    packed = PackedRows(index_of(), batch=len(LENGTHS), seq=SEQ)
    values = torch.arange(1.0, 1 + len(LENGTHS) * SEQ * 2).view(len(LENGTHS), SEQ, 2)
    moved = packed.pack(values)
    assert moved.shape[:2].numel() < values.shape[:2].numel()
    assert torch.equal(packed.unpack(moved), values * mask_of()[..., None])


def test_positions_restart_and_rows_are_blind_to_each_other() -> None:
    packed = PackedRows(torch.tensor([[16, 17, 18, 0, 1, -1, -1, -1]]), batch=2, seq=SEQ)
    assert packed.position_ids[0, :5].tolist() == [0, 1, 2, 0, 1]
    sees = packed.attention_mask()[0, 0].int().tolist()
    assert sees[:5] == [
        [1, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 0, 0, 0, 0],
        [0, 0, 0, 1, 1, 0, 0, 0],
    ]
    assert all(any(row) for row in sees)  # padding sees itself: no softmax over nothing


@pytest.mark.parametrize("kind", ["sparse", "soft"])
def test_packed_rows_have_the_hidden_states_and_router_losses_of_lone_ones(kind: str) -> None:
    model = tiny_phi(moe_config(kind)).double()
    embeds = model.embed(random_ids(len(LENGTHS), SEQ))
    alone = model.decode(embeds, attention_mask=mask_of())
    packed = model.decode(embeds, attention_mask=mask_of(), packed_index=index_of())
    real = mask_of().bool()
    torch.testing.assert_close(
        packed.hidden_states[real], alone.hidden_states[real], rtol=1e-10, atol=1e-10
    )
    assert alone.router is not None
    assert packed.router is not None
    for name in ("balance", "z", "expert_counts"):
        found, wanted = getattr(packed.router, name), getattr(alone.router, name)
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_no_row_sees_another() -> None:
    model = tiny_phi()
    embeds = model.embed(random_ids(len(LENGTHS), SEQ))
    changed = embeds.clone()
    changed[1] += 1.0
    before, after = (
        model.decode(given, packed_index=index_of()).hidden_states for given in (embeds, changed)
    )
    others = [row for row in range(len(LENGTHS)) if row != 1]
    assert torch.equal(before[others], after[others])
    assert not torch.equal(before[1], after[1])
