import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from phiray.data.image_sets import conversation_rows
from phiray.errors import CheckpointError, ConfigError, DataError, ExitCode
from phiray.models.freezing import trainable_names
from phiray.stages.instruct import prepare
from tests.image_builders import with_text_rows
from tests.stage_builders import Trained, align_config, changed_names, instruct_config, train


def test_instruct_trains_all_but_the_tower(instruct: Trained) -> None:
    expected = {name for name in instruct.before if not name.startswith("vision.")}
    assert changed_names(instruct) == expected
    parts = {name.split(".")[0] for name in trainable_names(instruct.parts.model)}
    assert parts == {"projector", "language_model"}


def test_instruct_starts_from_the_aligned_model(instruct: Trained, align: Trained) -> None:
    aligned = align.parts.model.state_dict()
    assert instruct.before.keys() == aligned.keys()
    for name, tensor in aligned.items():
        assert torch.equal(instruct.before[name], tensor), name


def test_instruct_pools_as_its_checkpoint_does(
    world: Path, tmp_path: Path, clip: Path, scratch: Trained
) -> None:
    config = align_config(world, tmp_path, clip=clip, language_model=scratch.run_dir)
    config = config.model_copy(update={"vision": config.vision.model_copy(update={"pooling": 2})})
    aligned = train(config)
    trained = train(instruct_config(world, tmp_path, checkpoint=aligned.run_dir))
    assert trained.parts.description.vision == config.vision
    row = trained.parts.source.read(np.array([0]))["input_ids"][0].as_py()
    assert row.count(trained.parts.tokenizer.image_id) == 1  # of 2 x 2 patches


def test_instruct_inherits_the_whole_ledger(
    instruct: Trained, align: Trained, scratch: Trained
) -> None:
    ledger = instruct.parts.ledger
    assert set(ledger["book"]) == set(scratch.parts.ledger["book"])
    assert set(ledger["image"]) == set(align.parts.ledger["image"])


def test_texts_without_an_image_are_learnt_and_stand_in_the_ledger(
    world: Path, tmp_path: Path, align: Trained
) -> None:
    config = instruct_config(world, tmp_path, checkpoint=align.run_dir)
    data = with_text_rows(config.data, 30, folder=tmp_path)
    data = data.model_copy(update={"conversations": data.conversations[1:]})
    trained = train(config.model_copy(update={"data": data}))
    texts = conversation_rows(data, num_patches=4, seed=0).text_ids
    assert 10 < len(texts) == trained.parts.source.num_rows < 30
    assert trained.parts.ledger["document"] == texts
    assert trained.parts.ledger["image"] == align.parts.ledger["image"]
    changed = changed_names(trained)
    assert any(name.startswith("language_model.") for name in changed)
    assert not any(name.startswith("projector.") for name in changed)  # no picture went through it


def test_a_weighed_mixture_learns_the_same_whether_rows_are_packed_or_not(
    world: Path, tmp_path: Path, align: Trained
) -> None:
    config = instruct_config(world, tmp_path, checkpoint=align.run_dir)
    data = with_text_rows(config.data, 30, folder=tmp_path)
    mixture = {"weights": {"texts": 0.5}, "group_by_length": True}
    weights = []
    for packing in (False, True):
        changed = data.model_copy(update={**mixture, "packing": packing})
        run = config.run.model_copy(update={"name": f"packing-{packing}"})
        trained = train(config.model_copy(update={"data": changed, "run": run}))
        assert [part.weight for part in trained.parts.source.mixture] == [1.0, 0.5]
        weights.append(trained.parts.model.state_dict())
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-4, atol=1e-5)


def test_prepare_counts_conversations(world: Path, tmp_path: Path, align: Trained) -> None:
    counts = prepare(instruct_config(world, tmp_path, checkpoint=align.run_dir)).counts
    num_images = len(align.parts.ledger["image"])
    assert counts == {"rows": num_images, "images": num_images}


def test_a_language_model_without_eyes_is_refused(
    world: Path, tmp_path: Path, scratch: Trained
) -> None:
    config = instruct_config(world, tmp_path, checkpoint=scratch.run_dir)
    with pytest.raises(ConfigError, match="holds a language model without eyes"):
        prepare(config)


def test_a_missing_checkpoint_is_missing_input(world: Path, tmp_path: Path) -> None:
    match = r"^checkpoint is .*nowhere is not a folder\..*Train `align` first"
    with pytest.raises(CheckpointError, match=match) as caught:
        prepare(instruct_config(world, tmp_path, checkpoint=tmp_path / "nowhere"))
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_data_of_another_tokenizer_is_refused(world: Path, tmp_path: Path, align: Trained) -> None:
    shutil.copytree(world / "tokenizer", tmp_path / "tokenizer")
    file = tmp_path / "tokenizer" / "tokenizer.json"
    file.write_text(file.read_text() + "\n")
    config = instruct_config(world, tmp_path, checkpoint=align.run_dir)
    data = config.data.model_copy(update={"tokenizer": str(tmp_path / "tokenizer")})
    with pytest.raises(ConfigError, match="trained with another tokenizer than"):
        prepare(config.model_copy(update={"data": data}))


def test_rows_longer_than_the_model_reads_are_refused(
    world: Path, tmp_path: Path, align: Trained
) -> None:
    config = instruct_config(world, tmp_path, checkpoint=align.run_dir)
    data = config.data.model_copy(update={"max_length": 128})
    with pytest.raises(ConfigError, match=r"data\.max_length is 128, but checkpoint .* 96 tokens"):
        prepare(config.model_copy(update={"data": data}))


def test_rows_that_an_image_alone_overfills_are_refused(
    world: Path, tmp_path: Path, align: Trained
) -> None:
    config = instruct_config(world, tmp_path, checkpoint=align.run_dir)
    data = config.data.model_copy(update={"max_length": 4})
    match = r"data\.max_length is 4, but an image alone takes 4 positions \(checkpoint .*align"
    with pytest.raises(ConfigError, match=match):
        prepare(config.model_copy(update={"data": data}))


def test_length_that_the_first_turns_do_not_fit_is_refused(
    world: Path, tmp_path: Path, align: Trained
) -> None:
    config = instruct_config(world, tmp_path, checkpoint=align.run_dir)
    data = config.data.model_copy(update={"max_length": 9})
    with pytest.raises(DataError, match=r"data\.max_length is 9, but .*\(100%\)") as caught:
        prepare(config.model_copy(update={"data": data}))
    enough = int(caught.value.message.split("max_length=")[1].split()[0])
    fits = data.model_copy(update={"max_length": enough})
    assert prepare(config.model_copy(update={"data": fits})).counts["rows"] > 0
