"""Each suite from data on disk to files on disk, with untrained models."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from phiray.config.training import ClusterConfig
from phiray.errors import ConfigError, DataError, ShapeError
from phiray.evals.gallery import find_picture, select_ids
from phiray.evals.results import read_result, read_samples
from phiray.evals.run import evaluate, evaluate_checkpoint, untrained_copy, use_cuda
from phiray.evals.settings import EvalSettings
from phiray.jobs.run_folder import write_manifest
from phiray.models.clip import ClipTower, pool_patches
from phiray.models.vision_language import VisionLanguageModel
from phiray.stages.parts import CARRIED_MANIFEST_FILE, MANIFEST_FILE
from phiray.stages.registry import stage_module
from phiray.world.build import build_world
from phiray.world.clip import train_clip
from phiray.world.settings import WorldConfig
from tests import stage_builders
from tests.unit.evals.worlds import VISION, image_config, load_scratch, load_vlm, make_world

SETTINGS = EvalSettings(
    max_images=5, max_conversations=4, max_documents=2, max_new_tokens=6, gallery_size=2
)
QUICK = EvalSettings(max_images=4, captions_per_image=1, max_new_tokens=1, gallery_size=2)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"))


def test_evaluate_lm_scores_both_sets_beside_the_unigram(world: Path, tmp_path: Path) -> None:
    loaded = load_scratch(world, tmp_path / "scratch")
    result = evaluate("lm", loaded, folder=tmp_path / "lm", settings=SETTINGS)
    assert set(result.arms) == {
        "scratch@gutenberg",
        "unigram@gutenberg",
        "scratch@redpajama",
        "unigram@redpajama",
    }
    hashes = set()
    for source in ("gutenberg", "redpajama"):
        recorded = result.data[source]
        assert isinstance(recorded, dict)
        hashes.add(recorded["examples_sha256"])
    assert len(hashes) == 2
    assert result.data["tokenizer_sha256"] == loaded.tokenizer.fingerprint
    for arm in result.arms.values():
        assert set(arm) == {"bits_per_byte", "token_perplexity"}
        assert arm["bits_per_byte"].n == 2
    assert result == read_result(tmp_path / "lm")
    model, unigram = (
        [s for s in read_samples(tmp_path / "lm") if s.arm == f"{name}@gutenberg"]
        for name in ("scratch", "unigram")
    )
    # The same tokens and bytes in both rows.
    assert [s.columns["token_perplexity"][1] for s in model] == [
        s.columns["token_perplexity"][1] for s in unigram
    ]
    # An untrained model is worse than frequencies.
    bits = {arm: metrics["bits_per_byte"].value for arm, metrics in result.arms.items()}
    assert bits["scratch@gutenberg"] > bits["unigram@gutenberg"]


def test_who_has_one_text_set_is_scored_on_that_one(world: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    shutil.copytree(world, part, ignore=shutil.ignore_patterns("redpajama"))
    loaded = load_scratch(part, tmp_path / "scratch")
    result = evaluate("lm", loaded, folder=tmp_path / "lm", settings=SETTINGS)
    assert set(result.arms) == {"scratch@gutenberg", "unigram@gutenberg"}
    assert any("No document of redpajama was there" in note for note in result.notes)


def test_evaluate_caption_writes_result_samples_and_pictures(world: Path, tmp_path: Path) -> None:
    loaded = load_vlm(world, tmp_path / "align")
    folder = tmp_path / "caption"
    told: list[str] = []
    result = evaluate(
        "caption",
        loaded,
        folder=folder,
        settings=SETTINGS,
        progress=lambda what, _done, _total: told.append(what),
    )
    assert list(result.arms) == ["align", "blank", "shuffled", "constant", "untrained"]
    assert result.arms["align"]["cider_d"].n == 5
    assert result.data["images"] == 5
    assert result.data["step"] == 7
    assert isinstance(result.data["constant_caption"], str)
    # Nothing says who trained this tower.
    assert any("custom folder of weights" in note for note in result.notes)
    assert not any("phiray trained" in note for note in result.notes)
    assert "scoring blind, untrained" in told
    ids = {sample.cluster for sample in read_samples(folder)}
    for image_id in select_ids(ids, seed=0, size=2):
        assert find_picture(folder, image_id) is not None
    assert str(world) not in str((result.data, result.notes))


class Pooled(nn.Module):
    """A tower whose 2 x 2 patches are averaged into one."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return pool_patches(self.tower(pixel_values), size=2)


@pytest.mark.parametrize(("suite", "stage"), [("caption", "align"), ("instruct", "instruct")])
def test_evaluate_gives_an_image_one_position_for_each_pooled_square(
    world: Path, tmp_path: Path, suite: str, stage: str
) -> None:
    loaded = load_vlm(world, tmp_path / stage, stage=stage)
    assert isinstance(loaded.model, VisionLanguageModel)
    loaded.model.vision = Pooled(loaded.model.vision)
    with pytest.raises(ShapeError, match="<image> ids, but the images give"):
        evaluate(suite, loaded, folder=tmp_path / "whole", settings=QUICK)
    vision = VISION.model_copy(update={"pooling": 2})
    loaded = replace(loaded, description=loaded.description.model_copy(update={"vision": vision}))
    result = evaluate(suite, loaded, folder=tmp_path / "pooled", settings=QUICK)
    assert stage in result.arms


def test_evaluate_caption_tells_of_the_training_of_the_very_tower(
    world: Path, tmp_path: Path
) -> None:
    loaded = load_vlm(world, tmp_path / "align")
    assert isinstance(loaded.model, VisionLanguageModel)
    clip = tmp_path / "clip"
    small = VISION.model_copy(update={"weights": str(clip), "hidden_size": 32})
    train_clip(image_config(world), small, out=clip, seed=4, max_steps=1)
    loaded.model.vision.add_module("visual", ClipTower(small).visual)  # beside the toy's means
    vision = VISION.model_copy(update={"weights": str(clip)})
    loaded = replace(loaded, description=loaded.description.model_copy(update={"vision": vision}))
    result = evaluate("caption", loaded, folder=tmp_path / "first", settings=QUICK)
    assert any("(seed 4, 1 steps) of the train split" in note for note in result.notes)
    train_clip(
        image_config(world), small, out=clip, seed=5, max_steps=1
    )  # another tower in its place
    result = evaluate("caption", loaded, folder=tmp_path / "second", settings=QUICK)
    assert not any("phiray trained" in note for note in result.notes)


def test_evaluate_caption_is_equal_twice_but_for_what_is_measured(
    world: Path, tmp_path: Path
) -> None:
    loaded = load_vlm(world, tmp_path / "align")
    first, second = (
        evaluate("caption", loaded, folder=tmp_path / name, settings=SETTINGS) for name in "ab"
    )
    assert replace(first, measured={}) == replace(second, measured={})
    assert (tmp_path / "a" / "samples.jsonl").read_bytes() == (
        tmp_path / "b" / "samples.jsonl"
    ).read_bytes()


def test_evaluate_leaves_the_result_before_if_it_is_cut_off(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, folder = load_vlm(world, tmp_path / "align"), tmp_path / "caption"
    evaluate("caption", loaded, folder=folder, settings=QUICK)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    def stop(*_: object) -> None:
        raise KeyboardInterrupt("killed")

    monkeypatch.setattr("phiray.evals.results.write_json", stop)  # after the samples are written
    fewer = QUICK.model_copy(update={"max_images": 3})
    with pytest.raises(KeyboardInterrupt, match="killed"):
        evaluate("caption", loaded, folder=folder, settings=fewer)
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before
    monkeypatch.undo()
    evaluate("caption", loaded, folder=folder, settings=fewer)
    assert read_result(folder).data["images"] == 3
    assert len({sample.cluster for sample in read_samples(folder)}) == 3


def test_evaluate_instruct_names_rows_that_are_not_llava_s(world: Path, tmp_path: Path) -> None:
    loaded = load_vlm(world, tmp_path / "instruct", stage="instruct")
    result = evaluate("instruct", loaded, folder=tmp_path / "out", settings=SETTINGS)
    assert list(result.arms) == ["instruct", "blank"]
    assert {"answer_nats", "exact_match", "rouge_l"} <= set(result.arms["instruct"])
    assert result.data["conversations"] == 4
    assert any("not LLaVA-Instruct-150K" in note for note in result.notes)


def test_evaluate_refuses_images_that_were_trained_on(world: Path, tmp_path: Path) -> None:
    loaded = load_vlm(world, tmp_path / "align")
    first = evaluate("caption", loaded, folder=tmp_path / "out", settings=SETTINGS)
    assert first.data["trained_images_checked"] == 0
    heldout = int(read_samples(tmp_path / "out")[0].cluster)
    with pytest.raises(DataError, match=f"1 evaluated image ids were trained on: {heldout}"):
        evaluate(
            "caption",
            replace(loaded, ledger={"image": [heldout]}),
            folder=tmp_path / "out2",
            settings=SETTINGS,
        )
    assert not (tmp_path / "out2").exists()


def test_evaluate_refuses_documents_that_were_trained_on(world: Path, tmp_path: Path) -> None:
    loaded = load_scratch(world, tmp_path / "scratch")
    other = replace(loaded, ledger={"book": [4711, 4712]})
    first = evaluate("lm", other, folder=tmp_path / "out", settings=SETTINGS)
    recorded = [first.data[source] for source in ("gutenberg", "redpajama")]
    counts = [data["trained_documents_checked"] for data in recorded if isinstance(data, dict)]
    assert counts == [2, 0]
    heldout = read_samples(tmp_path / "out")[0].cluster
    number = int(heldout.removeprefix("book:"))
    with pytest.raises(DataError, match=f"1 evaluated book ids were trained on: {number}"):
        evaluate(
            "lm",
            replace(loaded, ledger={"book": [4711, number]}),
            folder=tmp_path / "out2",
            settings=SETTINGS,
        )
    assert not (tmp_path / "out2").exists()


@pytest.mark.parametrize(("suite", "expected"), [("lm", "scratch"), ("caption", "align")])
def test_evaluate_refuses_a_suite_for_another_kind_of_model(
    world: Path, tmp_path: Path, suite: str, expected: str
) -> None:
    loaded = (
        load_vlm(world, tmp_path / "run")
        if suite == "lm"
        else load_scratch(world, tmp_path / "run")
    )
    with pytest.raises(ConfigError, match=f"Suite {suite} was asked of run.*`{expected}`"):
        evaluate(suite, loaded, folder=tmp_path / "out", settings=SETTINGS)


def test_evaluate_checkpoint_names_the_suites_for_a_wrong_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'vqa' is not a suite\. Expected one of lm, caption"):
        evaluate_checkpoint("vqa", tmp_path)


@pytest.mark.parametrize(
    ("use_gpu", "there", "moved"),
    [(True, True, True), (True, False, False), (False, True, False)],
)
def test_use_cuda_asks_the_run_and_the_machine(
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    use_gpu: bool,
    there: bool,
    moved: bool,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    loaded = load_scratch(world, tmp_path / "scratch")
    config = loaded.config.model_copy(update={"cluster": ClusterConfig(use_gpu=use_gpu)})
    assert use_cuda(replace(loaded, config=config)) is moved


def test_evaluate_checkpoint_scores_other_data_only_on_purpose(tmp_path: Path) -> None:
    world = stage_builders.write_world(tmp_path / "world")
    config = stage_builders.scratch_config(world, tmp_path / "runs")
    trained = stage_builders.train(config)
    run, checkpoint = trained.run_dir, trained.result.checkpoint
    assert checkpoint is not None
    data = stage_module("scratch").prepare(config)
    write_manifest(run, data=data, models={}, seed=config.run.seed)
    shutil.copy(run / MANIFEST_FILE, checkpoint / CARRIED_MANIFEST_FILE)
    few = SETTINGS.model_copy(update={"max_documents": 1, "max_document_characters": 200})
    own = evaluate_checkpoint("lm", run, settings=few)
    build_world(world, seed=9, settings=WorldConfig(num_images=40, num_books=8, num_rows=28))
    with pytest.raises(DataError, match="does not hold the data that scratch was trained on"):
        evaluate_checkpoint("lm", run, settings=few)
    assert read_result(run / "evals" / "lm") == own
    other = evaluate_checkpoint("lm", run, settings=few, root=str(world))
    assert "scored on other data" in other.notes[0]
    assert other.notes[1:] == own.notes
    with pytest.raises(ConfigError, match=r"^--data: data\.root: 's3://b/d' is a URL"):
        evaluate_checkpoint("lm", run, settings=few, root="s3://b/d")


def test_untrained_copy_changes_the_projector_only(world: Path, tmp_path: Path) -> None:
    loaded = load_vlm(world, tmp_path / "align")
    copy = untrained_copy(loaded, seed=0)
    assert isinstance(copy, nn.Module)
    assert isinstance(loaded.model, nn.Module)
    own, fresh = loaded.model.state_dict(), copy.state_dict()
    changed = {name for name in own if not torch.equal(own[name], fresh[name])}
    assert changed
    assert all(name.startswith("projector.") for name in changed)
    again = untrained_copy(loaded, seed=0)
    assert isinstance(again, nn.Module)
    assert all(torch.equal(t, fresh[name]) for name, t in again.state_dict().items())
