"""Held-out examples: the same for every run, none of the train part, bad pictures counted."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from phiray.config.data import SplitConfig
from phiray.data.image_sets import caption_rows, conversation_rows
from phiray.errors import DataError
from phiray.evals.examples import EvalData, load_caption_task, load_instruct_task
from phiray.evals.settings import EvalSettings
from phiray.images.paths import image_id_from_name
from phiray.text.tokenizer import Tokenizer
from tests.image_builders import with_text_rows
from tests.unit.evals.worlds import PICTURES, image_config, make_world


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> EvalData:
    root = make_world(tmp_path_factory.mktemp("world"))
    return EvalData(
        config=image_config(root),
        tokenizer=Tokenizer.load(root / "tokenizer"),
        num_patches=4,
        image_size=32,
        ledger={"image": [1]},
        settings=EvalSettings(max_images=6, captions_per_image=2),
    )


def test_load_caption_task_takes_heldout_images_and_train_captions(data: EvalData) -> None:
    task, said = load_caption_task(data)
    train = caption_rows(data.config, num_patches=4, seed=0, part="train")
    ids = [example.image_id for example in task.examples]
    assert len(set(ids)) == len(ids) <= 6
    assert not set(ids) & set(train.image_ids)
    assert all(len(example.captions) == 2 for example in task.examples)
    assert all(example.pixels.shape == (3, 32, 32) for example in task.examples)
    assert task.idf.num_images == said["idf_images"] == len(train.image_ids)
    assert said["trained_images_checked"] == 1
    assert said["files"] == ["captions_train2017.json"]


def test_load_caption_task_counts_idf_on_the_split_not_on_what_the_run_chose(
    data: EvalData,
) -> None:
    few = replace(data, config=data.config.model_copy(update={"max_images": 5}))
    (whole, said), (cut, cut_said) = load_caption_task(data), load_caption_task(few)
    assert whole.idf == cut.idf
    assert whole.train_captions == cut.train_captions
    assert said == cut_said
    other = data.config.model_copy(update={"split": SplitConfig(heldout_fraction=0.3)})
    assert load_caption_task(replace(data, config=other))[1]["idf_sha256"] != said["idf_sha256"]


def test_load_caption_task_counts_broken_pictures(data: EvalData, tmp_path: Path) -> None:
    root = make_world(tmp_path / "world")
    whole = replace(data, config=image_config(root))
    broken_id = load_caption_task(whole)[0].examples[0].image_id
    for path in (root / "coco" / "images").rglob("*.jpg"):
        if image_id_from_name(path.name) == broken_id:
            path.write_bytes(path.read_bytes()[:40])
    task, said = load_caption_task(whole)
    assert broken_id not in [example.image_id for example in task.examples]
    skipped = said["skipped"]
    assert isinstance(skipped, dict)
    assert sum(skipped.values()) == 1


@pytest.mark.parametrize("load", [load_caption_task, load_instruct_task])
def test_too_many_broken_pictures_stop_the_evaluation(
    load: Callable[[EvalData], object], data: EvalData, tmp_path: Path
) -> None:
    root = make_world(tmp_path / "world")
    for path in (root / "coco" / "images").rglob("*.jpg"):
        path.write_bytes(path.read_bytes()[:40])
    match = r"of \d+ held-out images cannot be used \(\d+ .*data\.max_bad_fraction=0\.01"
    with pytest.raises(DataError, match=match):
        load(replace(data, config=image_config(root)))


def test_progress_ends_whatever_was_left_out(data: EvalData) -> None:
    told: list[tuple[str, int, int]] = []

    def tell(what: str, done: int, total: int) -> None:
        told.append((what, done, total))

    for settings in (EvalSettings(max_images=3, max_conversations=2), EvalSettings()):
        for load in (load_caption_task, load_instruct_task):
            load(replace(data, settings=settings, progress=tell))
    too_short = data.config.model_copy(update={"max_length": 8})
    for load in (load_caption_task, load_instruct_task):
        with pytest.raises(DataError, match="too long"):
            load(replace(data, config=too_short, progress=tell))
    last = [now for now, after in pairwise([*told, ("", 0, 0)]) if now[0] != after[0]]
    assert {what for what, _, _ in last} >= {
        "reading held-out images",
        "reading held-out conversations",
    }
    assert [call for call in last if call[1] != call[2]] == []


def test_load_caption_task_needs_two_images(data: EvalData) -> None:
    config = data.config.model_copy(update={"max_length": 8})
    with pytest.raises(DataError, match=r"0 of .* held-out images can be used .*too long"):
        load_caption_task(replace(data, config=config))


def test_load_instruct_task_leaves_out_what_does_not_fit(data: EvalData) -> None:
    task, said = load_instruct_task(data)
    assert task.system == ""
    assert said["conversations_by_file"] == {"world_conversations.json": len(task.examples)}
    names = [example.conversation_id for example in task.examples]
    assert len(set(names)) == len(names)
    config = data.config.model_copy(update={"max_length": 8})
    with pytest.raises(DataError, match=r"None of .* held-out conversations can be used"):
        load_instruct_task(replace(data, config=config))


def test_load_instruct_task_refuses_trained_images(data: EvalData) -> None:
    task, _ = load_instruct_task(data)
    trained = task.examples[0].image_id
    with pytest.raises(DataError, match=f"trained on: {trained}"):
        load_instruct_task(replace(data, ledger={"image": [trained]}))


def test_load_instruct_task_scores_no_text_and_refuses_trained_ones(
    data: EvalData, tmp_path: Path
) -> None:
    mixed = replace(data, config=with_text_rows(data.config, 40, folder=tmp_path))
    texts = conversation_rows(mixed.config, num_patches=4, seed=0, part="heldout").text_ids
    assert 0 < len(texts) < 20
    said, before = load_instruct_task(mixed)[1], load_instruct_task(data)[1]
    assert said["skipped"] == {"no image": len(texts)}
    assert {**said, "skipped": {}} == before
    trained = conversation_rows(mixed.config, num_patches=4, seed=0).text_ids
    load_instruct_task(replace(mixed, ledger={"document": trained}))
    with pytest.raises(DataError, match=f"1 evaluated document ids were trained on: {texts[0]}"):
        load_instruct_task(replace(mixed, ledger={"document": [*trained, texts[0]]}))


def test_load_instruct_task_counts_the_scored_rows_of_each_file(
    data: EvalData, tmp_path: Path
) -> None:
    root = make_world(tmp_path / "world")
    rows = json.loads((root / PICTURES).read_text())
    (root / "instruct" / "second.json").write_text(json.dumps(rows))  # nothing new in it
    for row in rows[::2]:
        row["conversations"][1]["value"] = "another answer"
    (root / "instruct" / "third.json").write_text(json.dumps(rows[::2]))
    names = [PICTURES, *(f"instruct/{name}.json" for name in ("second", "third"))]
    config = image_config(root).model_copy(update={"conversations": names, "max_bad_fraction": 1.0})
    task, said = load_instruct_task(replace(data, config=config, settings=EvalSettings()))
    counts = said["conversations_by_file"]
    assert isinstance(counts, dict)
    assert set(counts) == {"world_conversations.json", "third.json"}
    changed = sum(e.turns[0].answer == "another answer" for e in task.examples)
    assert counts["third.json"] == changed
    assert sum(counts.values()) == len(task.examples)
