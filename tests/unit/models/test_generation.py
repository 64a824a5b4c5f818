import pytest
import torch

from phiray.errors import DataError, ShapeError
from phiray.models.generation import generate_greedy
from phiray.models.phi import Phi
from tests.model_builders import (
    all_logits,
    image_batch,
    make_batch,
    moe_config,
    phi_config,
    random_ids,
    tiny_phi,
    tiny_vlm,
)

NEVER = -1
POSITIONS = phi_config().max_position_embeddings


@torch.no_grad()
def _continue_without_cache(model: Phi, row: list[int], *, num_tokens: int) -> list[int]:
    ids = list(row)
    for _ in range(num_tokens):
        ids.append(int(all_logits(model, torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(row) :]


def test_greedy_equals_a_loop_without_cache() -> None:
    model = tiny_phi(moe_config())
    ids = random_ids(3, 6)
    rows = generate_greedy(model, make_batch(ids), max_new_tokens=8, eos_id=NEVER)
    assert rows == [_continue_without_cache(model, row, num_tokens=8) for row in ids.tolist()]


def test_row_stops_at_eos_and_leaves_the_others_running() -> None:
    model = tiny_phi(moe_config())
    batch = make_batch(random_ids(3, 6))
    free = generate_greedy(model, batch, max_new_tokens=8, eos_id=NEVER)
    eos_id = free[0][3]
    stopped = generate_greedy(model, batch, max_new_tokens=8, eos_id=eos_id)
    expected = [row[: row.index(eos_id)] if eos_id in row else row for row in free]
    assert stopped == expected
    assert len(stopped[0]) <= 3


def test_captions_are_equal_alone_and_in_a_batch() -> None:
    model = tiny_vlm()
    batch = image_batch(3)
    together = generate_greedy(model, batch, max_new_tokens=5, eos_id=NEVER)
    for index in range(3):
        alone = make_batch(batch["input_ids"][index : index + 1])
        alone["pixel_values"] = batch["pixel_values"][index : index + 1]
        assert generate_greedy(model, alone, max_new_tokens=5, eos_id=NEVER) == [together[index]]


def test_rows_of_unequal_length_are_refused() -> None:
    mask = torch.ones(2, 6, dtype=torch.int64)
    mask[1, 4:] = 0
    batch = make_batch(random_ids(2, 6), attention_mask=mask)
    with pytest.raises(ShapeError, match="4 to 6 tokens long in rows of 6"):
        generate_greedy(tiny_phi(), batch, max_new_tokens=2, eos_id=NEVER)


@pytest.mark.parametrize("prompt_length", [60, POSITIONS])
def test_text_ends_where_the_positions_do(prompt_length: int) -> None:
    """The last token is chosen, but never read: it takes no position."""
    model = tiny_phi(moe_config())
    ids = random_ids(3, prompt_length)
    rows = generate_greedy(model, make_batch(ids), max_new_tokens=50, eos_id=NEVER)
    num_tokens = POSITIONS - prompt_length + 1
    expected = [_continue_without_cache(model, row, num_tokens=num_tokens) for row in ids.tolist()]
    assert rows == expected


def test_prompt_longer_than_the_positions_is_refused_with_both_numbers() -> None:
    batch = make_batch(random_ids(1, POSITIONS + 1))
    with pytest.raises(DataError, match=r"65 tokens long, .* 64 positions \(model\.max_pos"):
        generate_greedy(tiny_phi(), batch, max_new_tokens=1, eos_id=NEVER)


def test_no_new_tokens_gives_empty_rows() -> None:
    batch = make_batch(random_ids(2, 6))
    assert generate_greedy(tiny_phi(), batch, max_new_tokens=0, eos_id=NEVER) == [[], []]
