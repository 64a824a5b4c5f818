import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from phiray.batch import Batch
from phiray.checkpoints.read import read_checkpoint
from phiray.data.collate import collate_step
from phiray.data.pixels import decode_table
from phiray.errors import CheckpointError, ConfigError, ExitCode
from phiray.models.interface import TokenModel
from phiray.models.vision_language import VisionLanguageModel
from phiray.stages import restore
from phiray.stages.parts import StageParts
from phiray.stages.restore import load_model, load_tower, read_outline
from tests.stage_builders import STEPS, Trained, scratch_config, train

STAGES = ("scratch", "litgpt", "align", "instruct")


def first_rows(parts: StageParts) -> Batch:
    table = parts.source.read(torch.arange(3).numpy())
    if parts.image_size is not None:
        table = decode_table(table, image_size=parts.image_size)
    step = collate_step(
        table, accumulation=1, pad_id=parts.tokenizer.pad_id, image_size=parts.image_size
    )
    return step.micro_batches[0]


@torch.no_grad()
def logits(model: TokenModel, batch: Batch) -> Tensor:
    return model.project(model.decode(model.embed_batch(batch)).hidden_states)


@pytest.fixture(params=STAGES)
def trained(request: pytest.FixtureRequest) -> Trained:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Trained)
    return found


def test_restored_model_gives_bit_equal_logits(trained: Trained) -> None:
    batch = first_rows(trained.parts)
    trained.parts.model.eval()
    expected = logits(trained.parts.objective.token_model, batch)
    loaded = load_model(trained.run_dir)
    assert torch.equal(logits(loaded.model, batch), expected)
    assert not loaded.model.training


def test_restored_model_comes_with_all_that_it_needs(trained: Trained) -> None:
    loaded = load_model(trained.run_dir)
    assert loaded.state["step"] == STEPS
    assert loaded.ledger == trained.parts.ledger
    assert loaded.description == trained.parts.description
    assert loaded.tokenizer.fingerprint == trained.parts.tokenizer.fingerprint
    assert loaded.config.run.name == trained.run_dir.name
    assert loaded.checkpoint_path == trained.result.checkpoint
    outline = read_outline(trained.run_dir)
    assert outline.description == trained.parts.description
    assert outline.tokenizer.fingerprint == trained.parts.tokenizer.fingerprint


def test_one_checkpoint_loads_like_its_run(align: Trained) -> None:
    assert align.result.checkpoint is not None
    by_run, by_step = load_model(align.run_dir), load_model(align.result.checkpoint)
    assert by_run.checkpoint_path == by_step.checkpoint_path


def test_aligned_model_needs_neither_its_tower_nor_its_language_model(
    align: Trained, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(align.run_dir, moved)
    batch = first_rows(align.parts)
    expected = logits(align.parts.objective.token_model, batch)
    assert torch.equal(logits(load_model(moved).model, batch), expected)


def test_tokenizer_keeps_an_end_of_text_of_another_name(world: Path, tmp_path: Path) -> None:
    content = (world / "tokenizer" / "tokenizer.json").read_text()
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(content.replace("<|endoftext|>", "</s>"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    config = scratch_config(world, tmp_path)
    data = config.data.model_copy(
        update={"tokenizer": str(folder), "prepared": str(tmp_path / "prepared")}
    )
    trained = train(config.model_copy(update={"data": data}))
    loaded = load_model(trained.run_dir)
    assert (loaded.tokenizer.eos_token, loaded.tokenizer.eos_id) == (
        "</s>",
        trained.parts.tokenizer.eos_id,
    )


def test_missing_run_is_missing_input(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no committed checkpoint") as caught:
        load_model(tmp_path)
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_altered_weights_are_refused(scratch: Trained, tmp_path: Path) -> None:
    assert scratch.result.checkpoint is not None
    broken = tmp_path / "step"
    shutil.copytree(scratch.result.checkpoint, broken)
    file = broken / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="is broken") as caught:
        load_model(broken)
    assert caught.value.exit_code == ExitCode.BAD_DATA


def test_settings_of_another_version_are_refused_by_file_and_line(
    scratch: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = read_checkpoint(scratch.run_dir)
    texts = {**checkpoint.texts, "config.yaml": "stage: scratch\nmodel:\n  colour: red\n"}
    monkeypatch.setattr(restore, "read_checkpoint", lambda _: replace(checkpoint, texts=texts))
    with pytest.raises(ConfigError, match=r"config\.yaml:3: model\.colour is not a setting"):
        load_model(scratch.run_dir)


def test_the_tower_alone_is_the_towers_part_of_the_model(align: Trained) -> None:
    tower = load_tower(align.run_dir)
    model = align.parts.model
    assert isinstance(model, VisionLanguageModel)
    wanted = model.vision.state_dict()
    assert tower.state_dict().keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in tower.state_dict().items())
    assert tower.feature_shape == (4, 32)
