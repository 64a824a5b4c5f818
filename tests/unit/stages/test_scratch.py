from pathlib import Path

import pytest

from phiray.data.split import book_key, is_heldout
from phiray.errors import ConfigError, DataError, ExitCode
from phiray.models.freezing import trainable_names
from phiray.stages.scratch import build, prepare
from tests.stage_builders import SPLIT, STEPS, Trained, changed_names, phi_config, scratch_config


def test_scratch_trains_every_weight_and_the_balancing_bias(scratch: Trained) -> None:
    assert scratch.result.step == STEPS
    assert changed_names(scratch) == set(scratch.before)
    assert any(".moe.router.bias" in name for name in scratch.before)
    names = [name for name, _ in scratch.parts.model.named_parameters()]
    assert trainable_names(scratch.parts.model) == names


def test_scratch_ledger_holds_exactly_the_training_books(scratch: Trained) -> None:
    numbers = range(101, 109)
    heldout = {
        number
        for number in numbers
        if is_heldout(book_key(number), salt=SPLIT.salt, heldout_fraction=SPLIT.heldout_fraction)
    }
    assert heldout
    assert set(scratch.parts.ledger) == {"book"}
    assert set(scratch.parts.ledger["book"]) == set(numbers) - heldout


def test_prepare_counts_documents_and_finds_them_done(world: Path, tmp_path: Path) -> None:
    config = scratch_config(world, tmp_path)
    data = config.data.model_copy(update={"prepared": str(tmp_path / "prepared")})
    config = config.model_copy(update={"data": data})
    prepared = prepare(config)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "prepared").rglob("*.bin")}
    assert prepared.counts["documents"] + prepared.counts["heldout_documents"] == 8
    assert prepare(config) == prepared
    assert files == {path: path.stat().st_mtime_ns for path in files}
    assert len(files) == 1


def test_build_gives_the_weights_of_the_seed(world: Path, tmp_path: Path, scratch: Trained) -> None:
    again = build(scratch_config(world, tmp_path)).model.state_dict()
    assert all(bool((again[name] == tensor).all()) for name, tensor in scratch.before.items())


def test_prepare_refuses_a_vocabulary_without_room_for_the_image(
    world: Path, tmp_path: Path
) -> None:
    config = scratch_config(world, tmp_path)
    config = config.model_copy(update={"model": phi_config(vocab_size=301)})
    match = r"model\.vocab_size is 301, but the tokenizer needs 302 .* model\.vocab_size=320"
    with pytest.raises(ConfigError, match=match):
        prepare(config)


def test_prepare_says_which_folder_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere") as caught:
        prepare(scratch_config(tmp_path / "nowhere", tmp_path))
    assert caught.value.exit_code == ExitCode.MISSING_INPUT
