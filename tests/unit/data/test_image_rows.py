import pickle
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

from phiray.config.data import ImageDataConfig
from phiray.data import image_rows
from phiray.data.image_rows import ImageRows
from phiray.data.image_sets import caption_rows, conversation_rows
from phiray.data.mixture import RowRange
from phiray.data.rows import ROW_SCHEMA, RowSource
from phiray.data.sources.coco import CaptionedImage
from phiray.errors import DataError, ExitCode
from phiray.storage import AnyPath, FileVersion, version_of
from phiray.text.prompts import caption_row, conversation_row
from phiray.types import FILLER_ROW
from tests.image_builders import (
    CAPTIONS_PER_IMAGE,
    NUM_PATCHES,
    BuildRows,
    file_name,
    with_text_rows,
    write_image_world,
)


@pytest.fixture
def config(tmp_path: Path) -> ImageDataConfig:
    split = {"heldout_fraction": 0.4}
    world = write_image_world(tmp_path)
    return ImageDataConfig.model_validate({**world.model_dump(), "max_length": 400, "split": split})


def rows_of(config: ImageDataConfig, **options: object) -> ImageRows[CaptionedImage]:
    settings = {"num_patches": NUM_PATCHES, "seed": 0, **options}
    return caption_rows(config, **settings)  # type: ignore[arg-type]  # options of the tests


def with_settings(config: ImageDataConfig, **settings: object) -> ImageDataConfig:
    return ImageDataConfig.model_validate({**config.model_dump(), **settings})


def test_caption_rows_reads_rows_in_the_order_asked_for(config: ImageDataConfig) -> None:
    rows = rows_of(config)
    last = rows.num_rows - 1

    table = rows.read(np.array([last, FILLER_ROW, 0]))

    first, final = rows.examples[0], rows.examples[-1]
    assert table.schema == ROW_SCHEMA
    assert table["row_id"].to_pylist() == [last, FILLER_ROW, 0]
    assert table["image"].to_pylist() == [final.path.read_bytes(), None, first.path.read_bytes()]
    expected = caption_row(rows.tokenizer, first.captions[0], num_patches=NUM_PATCHES)
    assert table["input_ids"][2].as_py() == expected.input_ids
    assert table["labels"][2].as_py() == expected.labels
    assert table["error"].null_count == 3


def test_caption_rows_has_one_row_per_caption(config: ImageDataConfig) -> None:
    rows = rows_of(config)

    table = rows.read(np.arange(rows.num_rows))

    assert rows.num_rows == len(rows.examples) * CAPTIONS_PER_IMAGE
    assert len({tuple(tokens) for tokens in table["input_ids"].to_pylist()}) == rows.num_rows
    assert rows.counts == {"rows": rows.num_rows, "images": len(rows.examples)}


def test_conversation_rows_has_one_row_per_conversation(config: ImageDataConfig) -> None:
    kind = with_settings(config, system_prompt="Be kind.")
    rows = conversation_rows(kind, num_patches=NUM_PATCHES, seed=0)

    table = rows.read(np.array([1]))

    expected = conversation_row(
        rows.tokenizer,
        rows.examples[1].turns,
        num_patches=NUM_PATCHES,
        max_length=400,
        system="Be kind.",
    )
    assert rows.num_rows == len(rows.image_ids)
    assert table["input_ids"][0].as_py() == expected.input_ids
    assert table["labels"][0].as_py() == expected.labels


def test_rows_without_an_image_stand_beside_rows_with_one(config: ImageDataConfig) -> None:
    rows = conversation_rows(with_text_rows(config, 5), num_patches=NUM_PATCHES, seed=0)
    last = rows.num_rows - 1

    table = rows.read(np.array([last, 0]))

    turns = rows.examples[last].turns
    expected = conversation_row(
        rows.tokenizer, turns, num_patches=0, max_length=400, system=config.system_prompt
    )
    assert table["image"].is_null().to_pylist() == [True, False]
    assert table["error"].null_count == 2
    assert table["input_ids"][0].as_py() == expected.input_ids
    assert rows.tokenizer.image_id not in expected.input_ids
    assert rows.tokenizer.image_id in table["input_ids"][1].as_py()


def test_sources_stand_in_ranges_with_their_weights(config: ImageDataConfig) -> None:
    plain = with_text_rows(config, 30)
    weighed = with_settings(plain, weights={"texts": 0.5})
    rows, before = (
        conversation_rows(kind, num_patches=NUM_PATCHES, seed=0) for kind in (weighed, plain)
    )
    num_images, num_texts = len(rows.image_ids), len(rows.text_ids)

    assert rows.mixture == (
        RowRange("llava_instruct_150k", 0, num_images, 1.0),
        RowRange("texts", num_images, num_texts, 0.5),
    )
    assert [part.weight for part in before.mixture] == [1.0, 1.0]
    assert rows.fingerprint != before.fingerprint
    assert rows_of(config).mixture == (RowRange("captions", 0, rows_of(config).num_rows),)


def test_lengths_are_estimated_without_tokenising(config: ImageDataConfig) -> None:
    rows = conversation_rows(with_text_rows(config, 30), num_patches=NUM_PATCHES, seed=0)
    turns = rows.examples[0].turns
    characters = sum(len(turn.question + turn.answer) for turn in turns) + len(config.system_prompt)

    lengths = rows.estimate_lengths()

    assert lengths.shape == (rows.num_rows,)
    assert lengths[0] == NUM_PATCHES + characters // 4
    assert lengths[-1] < lengths[0]
    captions = rows_of(config)
    first = NUM_PATCHES + len(captions.examples[0].captions[0]) // 4
    assert captions.estimate_lengths()[0] == first
    assert len(captions.estimate_lengths()) == captions.num_rows


def test_fingerprint_covers_texts_without_an_image(config: ImageDataConfig) -> None:
    fingerprints = {conversation_rows(config, num_patches=NUM_PATCHES, seed=0).fingerprint}
    for num_texts in (20, 30):
        mixed = with_text_rows(config, num_texts)
        rows = conversation_rows(mixed, num_patches=NUM_PATCHES, seed=0)
        fingerprints.add(rows.fingerprint)

    assert len(fingerprints) == 3


def test_a_pickled_source_reads_the_same_rows(config: ImageDataConfig) -> None:
    rows = rows_of(config)
    ids = np.arange(rows.num_rows)

    again = pickle.loads(pickle.dumps(rows))

    assert again.fingerprint == rows.fingerprint
    assert again.read(ids).equals(rows.read(ids))


def test_fingerprint_changes_with_rows_and_settings(config: ImageDataConfig) -> None:
    fingerprints = {
        rows_of(config).fingerprint,
        rows_of(config, part="heldout").fingerprint,
        rows_of(config, num_patches=NUM_PATCHES + 1).fingerprint,
        rows_of(with_settings(config, max_images=3)).fingerprint,
        conversation_rows(config, num_patches=NUM_PATCHES, seed=0).fingerprint,
    }

    assert len(fingerprints) == 5


@pytest.mark.parametrize("kind", [caption_rows, conversation_rows])
def test_fingerprint_does_not_depend_on_where_the_data_lies(
    config: ImageDataConfig,
    kind: BuildRows,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    moved = tmp_path_factory.mktemp("moved") / "data"
    shutil.copytree(config.root, moved)

    before = kind(config, num_patches=NUM_PATCHES, seed=0).fingerprint
    after = kind(with_settings(config, root=str(moved)), num_patches=NUM_PATCHES, seed=0)

    assert after.fingerprint == before


@pytest.mark.parametrize("kind", [caption_rows, conversation_rows])
def test_fingerprint_changes_with_the_size_of_an_image_that_is_used(
    config: ImageDataConfig, kind: BuildRows
) -> None:
    def fingerprint() -> str:
        return kind(config, num_patches=NUM_PATCHES, seed=0).fingerprint

    before = fingerprint()
    rows = kind(config, num_patches=NUM_PATCHES, seed=0, part="heldout")
    heldout = Path(str(rows.examples[0].path))
    heldout.write_bytes(heldout.read_bytes() + b"\0")
    assert fingerprint() == before

    used = Path(str(kind(config, num_patches=NUM_PATCHES, seed=0).examples[0].path))
    used.write_bytes(used.read_bytes() + b"\0")
    assert fingerprint() != before


@pytest.mark.parametrize("kind", [caption_rows, conversation_rows])
def test_quick_fingerprint_looks_at_the_same_few_images_and_at_all_texts(
    config: ImageDataConfig,
    kind: BuildRows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[AnyPath] = []

    def look(path: AnyPath) -> FileVersion:
        looked.append(path)
        return version_of(path)

    def fingerprint(num_patches: int = NUM_PATCHES) -> str:
        looked.clear()
        return kind(config, num_patches=num_patches, seed=0).quick_fingerprint

    monkeypatch.setattr(image_rows, "version_of", look)
    monkeypatch.setattr(image_rows, "QUICK_SIZES", 2)
    before = fingerprint()
    first = list(looked)
    assert len(first) == 2
    assert fingerprint() == before
    assert looked == first
    assert fingerprint(NUM_PATCHES + 1) != before
    used = Path(str(first[0]))
    used.write_bytes(used.read_bytes() + b"\0")
    assert fingerprint() != before


def test_fingerprint_marks_an_image_that_is_gone(config: ImageDataConfig) -> None:
    whole, empty, gone = rows_of(config), rows_of(config), rows_of(config)
    fingerprints = {whole.fingerprint}
    path = Path(str(whole.examples[0].path))

    path.write_bytes(b"")
    fingerprints.add(empty.fingerprint)
    path.unlink()
    fingerprints.add(gone.fingerprint)

    assert len(fingerprints) == 3


def test_rows_that_cannot_be_used_keep_their_place(config: ImageDataConfig) -> None:
    rows = rows_of(config)
    Path(str(rows.examples[0].path)).unlink()

    table = rows.read(np.array([0, CAPTIONS_PER_IMAGE]))

    assert table["error"].to_pylist() == ["missing image", None]
    assert file_name(rows.image_ids[0]) in table["detail"][0].as_py()


@pytest.mark.parametrize("kind", [caption_rows, conversation_rows])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_rows_without_any_folder_name_the_node(
    config: ImageDataConfig, scheme: str, kind: BuildRows
) -> None:
    there = with_settings(config, root=f"{scheme}{config.root}")
    rows = kind(there, num_patches=NUM_PATCHES, seed=0)
    shutil.rmtree(Path(config.root) / config.images)

    with pytest.raises(DataError, match=f"is missing on node {socket.gethostname()}") as caught:
        rows.read(np.array([0]))

    assert caught.value.exit_code == ExitCode.MISSING_INPUT


@pytest.mark.parametrize("kind", [caption_rows, conversation_rows])
def test_rows_through_a_nodes_cache_are_the_same(
    config: ImageDataConfig, tmp_path: Path, kind: BuildRows
) -> None:
    node = tmp_path / "node"
    direct = kind(config, num_patches=NUM_PATCHES, seed=0)
    rows = kind(with_settings(config, node_cache=str(node)), num_patches=NUM_PATCHES, seed=0)
    row_ids = np.array([rows.num_rows - 1, FILLER_ROW, *range(rows.num_rows)])
    Path(str(direct.examples[0].path)).unlink()
    Path(str(direct.examples[1].path)).write_bytes(b"")
    expected = direct.read(row_ids)

    first = rows.read(row_ids)
    next(node.glob("*/*")).write_bytes(b"damaged")
    again = rows.read(row_ids)

    assert expected["error"].null_count < len(row_ids)
    assert first.equals(expected)
    assert again.equals(expected)
    assert direct.fingerprint == rows.fingerprint
    stored = sorted(copy.read_bytes() for copy in node.glob("*/*"))
    paths = [example.path for example in rows.examples[1:] if example.path is not None]
    assert stored == sorted(path.read_bytes() for path in paths)


@pytest.mark.parametrize("kind", [caption_rows, conversation_rows])
@pytest.mark.parametrize("has_cache", [False, True])
def test_rows_of_a_url_are_those_of_the_folder(
    config: ImageDataConfig,
    tmp_path: Path,
    kind: BuildRows,
    has_cache: bool,
) -> None:
    node = str(tmp_path / "node") if has_cache else None
    there = with_settings(config, root=f"file://{config.root}", node_cache=node)
    by_path = kind(config, num_patches=NUM_PATCHES, seed=0)
    by_url: RowSource = pickle.loads(pickle.dumps(kind(there, num_patches=NUM_PATCHES, seed=0)))
    Path(str(by_path.examples[1].path)).unlink()
    row_ids = np.arange(by_path.num_rows)

    found = by_url.read(row_ids)

    wanted = by_path.read(row_ids)
    assert found.drop(["detail"]).equals(wanted.drop(["detail"]))  # which names the place
    assert "missing image" in wanted["error"].to_pylist()
    assert Path(tmp_path / "node").exists() == has_cache


def test_fingerprint_of_a_url_is_that_of_the_folder(config: ImageDataConfig) -> None:
    there = with_settings(config, root=f"file://{config.root}")
    assert rows_of(there).fingerprint == rows_of(config).fingerprint


@pytest.mark.parametrize("kind", [caption_rows, conversation_rows])
def test_rows_that_are_too_long_keep_their_place(config: ImageDataConfig, kind: BuildRows) -> None:
    rows = kind(with_settings(config, max_length=8), num_patches=NUM_PATCHES, seed=0)

    assert rows.read(np.array([0]))["error"].to_pylist() == ["too long"]
