import json
from pathlib import Path

import numpy as np
import pytest
import torch

from phiray.data.sources.annotations import Excluded
from phiray.data.split import image_key, is_heldout
from phiray.errors import CheckpointError, ConfigError, DataError, ExitCode
from phiray.models.freezing import trainable_names
from phiray.stages.align import prepare
from phiray.stages.restore import load_model
from tests.stage_builders import SPLIT, Trained, align_config, changed_names, train
from tests.unit.stages.test_language_models import hugging_face


def image_ids(world: Path, *, heldout: bool) -> set[int]:
    """Read the ids of one part from the caption file itself."""
    content = json.loads((world / "coco/annotations/captions_train2017.json").read_text())
    ids = {image["id"] for image in content["images"]}
    fraction = SPLIT.heldout_fraction
    return {
        image_id
        for image_id in ids
        if is_heldout(image_key(image_id), salt=SPLIT.salt, heldout_fraction=fraction) == heldout
    }


def test_align_trains_the_projector_alone(align: Trained) -> None:
    projector = {name for name in align.before if name.startswith("projector.")}
    assert projector
    assert changed_names(align) == projector
    assert set(trainable_names(align.parts.model)) == projector


def test_align_inherits_the_ledger_and_adds_its_training_images(
    align: Trained, scratch: Trained, world: Path
) -> None:
    assert set(align.parts.ledger["book"]) == set(scratch.parts.ledger["book"])
    assert set(align.parts.ledger["image"]) == image_ids(world, heldout=False)
    assert image_ids(world, heldout=True)


def test_align_commits_frozen_weights_once_and_small_checkpoints(align: Trained) -> None:
    frozen = align.run_dir / "frozen" / "model.safetensors"
    assert align.result.checkpoint is not None
    assert frozen.stat().st_size > (align.result.checkpoint / "model.safetensors").stat().st_size


def test_align_on_the_outcome_of_litgpt(
    world: Path, tmp_path: Path, clip: Path, litgpt: Trained
) -> None:
    trained = train(align_config(world, tmp_path, clip=clip, language_model=litgpt.run_dir))
    assert {name.split(".")[0] for name in changed_names(trained)} == {"projector"}
    assert set(trained.parts.ledger) == {"document", "image"}
    assert load_model(trained.run_dir).ledger == trained.parts.ledger


def test_align_on_a_hugging_face_folder(world: Path, tmp_path: Path, clip: Path) -> None:
    hugging_face(tmp_path / "phi")
    trained = train(align_config(world, tmp_path, clip=clip, language_model=tmp_path / "phi"))
    assert {name.split(".")[0] for name in changed_names(trained)} == {"projector"}
    assert set(trained.parts.ledger) == {"image"}
    assert trained.parts.description.language_model.num_hidden_layers == 2


def test_align_pools_patches_in_rows_and_in_the_model_that_is_loaded_again(
    world: Path, tmp_path: Path, clip: Path, scratch: Trained
) -> None:
    config = align_config(world, tmp_path, clip=clip, language_model=scratch.run_dir)
    config = config.model_copy(update={"vision": config.vision.model_copy(update={"pooling": 2})})
    trained = train(config)
    image_id = trained.parts.tokenizer.image_id
    row = trained.parts.source.read(np.array([0]))["input_ids"][0].as_py()
    assert row.count(image_id) == 1  # of 2 x 2 patches
    assert changed_names(trained)
    loaded = load_model(trained.run_dir)
    assert loaded.description.vision == config.vision


def test_align_starts_from_the_trained_language_model(align: Trained, scratch: Trained) -> None:
    for name, tensor in scratch.parts.model.state_dict().items():
        assert torch.equal(align.before[f"language_model.{name}"], tensor), name


def test_prepare_counts_rows_and_images(
    world: Path, tmp_path: Path, clip: Path, scratch: Trained
) -> None:
    config = align_config(world, tmp_path, clip=clip, language_model=scratch.run_dir)
    counts = prepare(config).counts
    num_images = len(image_ids(world, heldout=False))
    assert counts == {"rows": 5 * num_images, "images": num_images}


def test_prepare_says_that_images_are_missing(
    world: Path, tmp_path: Path, clip: Path, scratch: Trained
) -> None:
    config = align_config(world, tmp_path, clip=clip, language_model=scratch.run_dir)
    (tmp_path / "empty").mkdir()
    data = config.data.model_copy(update={"images": str(tmp_path / "empty")})
    with pytest.raises(
        DataError, match=r"^No image of captions_train2017\.json is on disk"
    ) as caught:
        prepare(config.model_copy(update={"data": data}))
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_prepare_says_that_the_language_model_is_missing(
    world: Path, tmp_path: Path, clip: Path
) -> None:
    config = align_config(world, tmp_path, clip=clip, language_model=tmp_path / "nowhere")
    match = r"^language_model is .*nowhere is not a folder\..*Train `scratch` or `litgpt` first"
    with pytest.raises(CheckpointError, match=match) as caught:
        prepare(config)
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_prepare_says_that_the_tower_is_missing(
    world: Path, tmp_path: Path, scratch: Trained
) -> None:
    config = align_config(
        world, tmp_path, clip=tmp_path / "nowhere", language_model=scratch.run_dir
    )
    with pytest.raises(
        CheckpointError, match=r"nowhere.*open_clip_config\.json is missing"
    ) as caught:
        prepare(config)
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_prepare_refuses_a_language_model_with_too_few_rows(
    world: Path, tmp_path: Path, clip: Path
) -> None:
    hugging_face(tmp_path, vocab_size=300)
    config = align_config(world, tmp_path / "runs", clip=clip, language_model=tmp_path)
    match = "has a vocabulary of 300 rows, but data.tokenizer needs 302 ids"
    with pytest.raises(ConfigError, match=match):
        prepare(config)


def test_prepare_refuses_rows_longer_than_the_language_model_reads(
    world: Path, tmp_path: Path, clip: Path, scratch: Trained
) -> None:
    config = align_config(world, tmp_path, clip=clip, language_model=scratch.run_dir)
    data = config.data.model_copy(update={"max_length": 97})
    match = r"data\.max_length is 97, but language_model .* reads at most 96 tokens"
    with pytest.raises(ConfigError, match=match):
        prepare(config.model_copy(update={"data": data}))


def test_prepare_lists_the_records_that_became_no_row(
    world: Path, tmp_path: Path, clip: Path, scratch: Trained
) -> None:
    config = align_config(world, tmp_path, clip=clip, language_model=scratch.run_dir)
    content = json.loads((world / config.data.annotations[0]).read_text())
    content["images"].append({"id": 999_999, "file_name": "000000999999.jpg"})
    file = tmp_path / "captions.json"
    file.write_text(json.dumps(content))
    data = config.data.model_copy(update={"annotations": [str(file)]})
    prepared = prepare(config.model_copy(update={"data": data}))
    place = f"captions.json images[{len(content['images']) - 1}]"
    assert prepared.excluded == (Excluded("missing image", f"{place}: 000000999999.jpg"),)
    assert prepared.counts["left out: missing image"] == 1


def test_prepare_refuses_a_length_that_most_captions_do_not_fit(
    world: Path, tmp_path: Path, clip: Path, scratch: Trained
) -> None:
    config = align_config(world, tmp_path, clip=clip, language_model=scratch.run_dir)
    data = config.data.model_copy(update={"max_length": config.vision.num_patches + 3})
    match = r"data\.max_length is 7, but .*--set data\.max_length=(\d+) holds all"
    with pytest.raises(DataError, match=match) as caught:
        prepare(config.model_copy(update={"data": data}))
    enough = int(caught.value.message.split("max_length=")[1].split()[0])
    fits = data.model_copy(update={"max_length": enough})
    assert prepare(config.model_copy(update={"data": fits})).counts["rows"] > 0
