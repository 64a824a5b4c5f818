"""FLOPs against torch's own counter, on real forwards and backwards of small models."""

import pytest
from torch.utils.flop_counter import FlopCounterMode

from phiray.config.load import load_config
from phiray.config.model import MoeConfig, PhiConfig
from phiray.config.presets import preset
from phiray.config.stages import AlignConfig, InstructConfig, ScratchConfig
from phiray.config.training import ScheduledSamplingMethod
from phiray.errors import ConfigError
from phiray.models.phi import Phi
from phiray.planning.given import GivenModel, find_given_model
from phiray.planning.workload import Rows, count_flops, estimate_rows
from tests.model_builders import make_batch, random_ids

TOKENS = 24
MODEL = PhiConfig(
    vocab_size=61,
    hidden_size=40,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    max_position_embeddings=64,
)
ATTENTION = 3 * 2 * 40 * TOKENS**2 * 3
"""Forward and backward of causal attention, which torch's counter takes for its full square."""


def scratch(model: PhiConfig) -> tuple[ScratchConfig, GivenModel]:
    config = preset("tiny", "scratch")
    assert isinstance(config, ScratchConfig)
    config = config.model_copy(update={"model": model})
    return config, GivenModel(model)


def products_of(model: Phi, *, is_trained: bool) -> int:
    """Count products in one row's forward and backward, attention apart."""
    model.requires_grad_(is_trained)
    batch = make_batch(random_ids(1, TOKENS))
    embeds = model.embed(batch["input_ids"]).detach().requires_grad_()
    counter = FlopCounterMode(display=False)
    with counter:
        hidden_states = model.decode(embeds).hidden_states
        model.project(hidden_states).sum().backward()  # type: ignore[no-untyped-call]
    counts = counter.get_flop_counts()["Global"]
    return sum(count for op, count in counts.items() if "attention" not in str(op))


@pytest.mark.parametrize(
    "moe", [None, MoeConfig(num_experts=4, num_experts_per_token=2, intermediate_size=24)]
)
def test_trained_model_computes_what_is_counted(moe: MoeConfig | None) -> None:
    model = MODEL.model_copy(update={"moe": moe})
    rows = Rows(TOKENS, TOKENS, 1.0, 0, assumptions=())
    counted = count_flops(*scratch(model), rows).language_model - ATTENTION
    # biases count as weights, and mixing the experts' answers is left out: both are small here too
    assert counted == pytest.approx(products_of(Phi(model), is_trained=True), rel=0.03)


def test_frozen_model_needs_no_gradients_of_its_weights() -> None:
    config = preset("tiny", "align")
    assert isinstance(config, AlignConfig)
    rows = Rows(TOKENS, TOKENS, 1.0, 0, assumptions=())
    counted = count_flops(config, GivenModel(MODEL), rows).language_model - ATTENTION
    assert counted == pytest.approx(products_of(Phi(MODEL), is_trained=False), rel=0.03)


def test_rollout_adds_a_forward_for_each_pass() -> None:
    config = preset("tiny", "instruct")
    assert isinstance(config, InstructConfig)
    method = ScheduledSamplingMethod(num_passes=3)
    sampled = config.model_copy(update={"method": method})
    rows = Rows(TOKENS, TOKENS, 1.0, 0, assumptions=())
    plain, more = (count_flops(c, GivenModel(MODEL), rows) for c in (config, sampled))
    assert plain.rollout == 0
    assert more.rollout == pytest.approx(plain.language_model)  # three forwards are one step's cost


def test_text_rows_are_as_long_as_the_settings_say() -> None:
    config = preset("phi-2", "scratch")
    rows = estimate_rows(config, find_given_model(config, stand_in="phi-2"), longest=None)
    assert (rows.mean_tokens, rows.longest_tokens, rows.mean_labels) == (2048, 2048, 2048)
    assert rows.assumptions == ()


def test_rows_with_images_say_what_was_assumed() -> None:
    config = preset("phi-2", "align")
    given = find_given_model(config, stand_in="phi-2")
    rows = estimate_rows(config, given, longest=None)
    assert (rows.mean_tokens, rows.longest_tokens) == (63, 80)  # 49 patches; 73, padded
    assert rows.mean_labels == 14
    assert "assumed, as of COCO's captions" in rows.assumptions[0]
    longer = estimate_rows(config, given, longest=300)
    assert longer.longest_tokens == 304
    assert "given" in longer.assumptions[0]


def test_rows_without_room_for_text_beside_the_image_are_refused() -> None:
    config = load_config("phi-2", "align")
    given = find_given_model(config, stand_in="phi-2")
    with pytest.raises(ConfigError, match=r"max_length is 2048, --longest-row 49\), but an image"):
        estimate_rows(config, given, longest=49)
    short = load_config("phi-2", "instruct", overrides=["data.max_length=49"])
    given = find_given_model(short, stand_in="phi-2")
    with pytest.raises(ConfigError, match=r"49 tokens \(data\.max_length is 49\), but an image"):
        estimate_rows(short, given, longest=None)


def test_pooling_shortens_rows_and_leaves_the_tower_as_it_is() -> None:
    config = preset("phi-2", "align")
    assert isinstance(config, AlignConfig)
    vision = config.vision.model_copy(update={"pooling": 7})  # of 7 x 7 patches
    pooled = config.model_copy(update={"vision": vision})
    (given, rows), (fewer, shorter) = (
        (given := find_given_model(c, stand_in="phi-2"), estimate_rows(c, given, longest=None))
        for c in (config, pooled)
    )
    assert fewer.tower == given.tower
    assert (shorter.num_patches, shorter.mean_tokens, shorter.longest_tokens) == (1, 15, 32)
    assert shorter.mean_labels == rows.mean_labels
    whole, less = count_flops(config, given, rows), count_flops(pooled, fewer, shorter)
    assert less.tower == whole.tower
    assert less.projector == pytest.approx(whole.projector / 49)
    # 15 of 63 positions; the head reads as many labels as before
    assert 15 / 63 < less.language_model / whole.language_model < 0.3


def test_towers_forward_is_counted_without_its_last_block() -> None:
    config = preset("phi-2", "align")
    given = find_given_model(config, stand_in="phi-2")
    rows = estimate_rows(config, given, longest=None)
    # ViT-B/32 at 224 takes 8.8 GFLOPs in all (open_clip's model profile: 4.4 GMACs, 12 blocks)
    assert count_flops(config, given, rows).tower == pytest.approx(8.8e9 * 11 / 12, rel=0.03)
