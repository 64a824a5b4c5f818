import json
import pickle
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

from phiray.config.data import ImageDataConfig
from phiray.data import image_rows
from phiray.data.image_rows import CaptionRows, ConversationRows
from phiray.data.rows import ROW_SCHEMA, RowSource
from phiray.data.split import image_key, is_heldout
from phiray.errors import DataError, ExitCode
from phiray.storage import AnyPath, FileVersion, version_of
from phiray.text.prompts import caption_row, conversation_row
from phiray.types import FILLER_ROW
from tests.image_builders import (
    CAPTIONS_PER_IMAGE,
    NUM_IMAGES,
    NUM_PATCHES,
    file_name,
    write_image_world,
)


@pytest.fixture
def config(tmp_path: Path) -> ImageDataConfig:
    split = {"heldout_fraction": 0.4}
    world = write_image_world(tmp_path)
    return ImageDataConfig.model_validate({**world.model_dump(), "max_length": 400, "split": split})


def caption_rows(config: ImageDataConfig, **options: object) -> CaptionRows:
    settings = {"num_patches": NUM_PATCHES, "seed": 0, **options}
    return CaptionRows(config, **settings)  # type: ignore[arg-type]  # options of the tests


def with_settings(config: ImageDataConfig, **settings: object) -> ImageDataConfig:
    return ImageDataConfig.model_validate({**config.model_dump(), **settings})


def test_parts_divide_the_images_by_id(config: ImageDataConfig) -> None:
    train = caption_rows(config)
    heldout = caption_rows(config, part="heldout")

    assert sorted(train.image_ids + heldout.image_ids) == list(range(1, NUM_IMAGES + 1))
    assert heldout.image_ids == [
        image_id
        for image_id in range(1, NUM_IMAGES + 1)
        if is_heldout(
            image_key(image_id),
            salt=config.split.salt,
            heldout_fraction=config.split.heldout_fraction,
        )
    ]
    assert heldout.image_ids


def test_both_stages_hold_out_the_same_images(config: ImageDataConfig) -> None:
    conversations = ConversationRows(config, num_patches=NUM_PATCHES, seed=0, part="heldout")

    assert conversations.image_ids == caption_rows(config, part="heldout").image_ids


def test_caption_rows_reads_rows_in_the_order_asked_for(config: ImageDataConfig) -> None:
    rows = caption_rows(config)
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
    rows = caption_rows(config)

    table = rows.read(np.arange(rows.num_rows))

    assert rows.num_rows == len(rows.examples) * CAPTIONS_PER_IMAGE
    assert len({tuple(tokens) for tokens in table["input_ids"].to_pylist()}) == rows.num_rows
    assert rows.counts == {"rows": rows.num_rows, "images": len(rows.examples)}


def test_conversation_rows_has_one_row_per_conversation(config: ImageDataConfig) -> None:
    kind = with_settings(config, system_prompt="Be kind.")
    rows = ConversationRows(kind, num_patches=NUM_PATCHES, seed=0)

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


def test_max_images_chooses_train_images_by_seed(config: ImageDataConfig) -> None:
    small = with_settings(config, max_images=3)
    choices = [tuple(caption_rows(small, seed=seed).image_ids) for seed in range(8)]

    assert {len(choice) for choice in choices} == {3}
    assert len(set(choices)) > 1
    assert choices[0] == tuple(caption_rows(small, seed=0).image_ids)
    assert len(caption_rows(small, part="heldout").image_ids) > 3


def test_a_pickled_source_reads_the_same_rows(config: ImageDataConfig) -> None:
    rows = caption_rows(config)
    ids = np.arange(rows.num_rows)

    again = pickle.loads(pickle.dumps(rows))

    assert again.fingerprint == rows.fingerprint
    assert again.read(ids).equals(rows.read(ids))


def test_fingerprint_changes_with_rows_and_settings(config: ImageDataConfig) -> None:
    fingerprints = {
        caption_rows(config).fingerprint,
        caption_rows(config, part="heldout").fingerprint,
        caption_rows(config, num_patches=NUM_PATCHES + 1).fingerprint,
        caption_rows(with_settings(config, max_images=3)).fingerprint,
        ConversationRows(config, num_patches=NUM_PATCHES, seed=0).fingerprint,
    }

    assert len(fingerprints) == 5


@pytest.mark.parametrize("kind", [CaptionRows, ConversationRows])
def test_fingerprint_does_not_depend_on_where_the_data_lies(
    config: ImageDataConfig,
    kind: type[CaptionRows] | type[ConversationRows],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    moved = tmp_path_factory.mktemp("moved") / "data"
    shutil.copytree(config.root, moved)

    before = kind(config, num_patches=NUM_PATCHES, seed=0).fingerprint
    after = kind(with_settings(config, root=str(moved)), num_patches=NUM_PATCHES, seed=0)

    assert after.fingerprint == before


@pytest.mark.parametrize("kind", [CaptionRows, ConversationRows])
def test_fingerprint_changes_with_the_size_of_an_image_that_is_used(
    config: ImageDataConfig, kind: type[CaptionRows] | type[ConversationRows]
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


@pytest.mark.parametrize("kind", [CaptionRows, ConversationRows])
def test_quick_fingerprint_looks_at_the_same_few_images_and_at_all_texts(
    config: ImageDataConfig,
    kind: type[CaptionRows] | type[ConversationRows],
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
    whole, empty, gone = caption_rows(config), caption_rows(config), caption_rows(config)
    fingerprints = {whole.fingerprint}
    path = Path(str(whole.examples[0].path))

    path.write_bytes(b"")
    fingerprints.add(empty.fingerprint)
    path.unlink()
    fingerprints.add(gone.fingerprint)

    assert len(fingerprints) == 3


def test_rows_that_cannot_be_used_keep_their_place(config: ImageDataConfig) -> None:
    rows = caption_rows(config)
    Path(str(rows.examples[0].path)).unlink()

    table = rows.read(np.array([0, CAPTIONS_PER_IMAGE]))

    assert table["error"].to_pylist() == ["missing image", None]
    assert file_name(rows.image_ids[0]) in table["detail"][0].as_py()


@pytest.mark.parametrize("kind", [CaptionRows, ConversationRows])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_rows_without_any_folder_name_the_node(
    config: ImageDataConfig, scheme: str, kind: type[CaptionRows] | type[ConversationRows]
) -> None:
    there = with_settings(config, root=f"{scheme}{config.root}")
    rows = kind(there, num_patches=NUM_PATCHES, seed=0)
    shutil.rmtree(Path(config.root) / config.images)

    with pytest.raises(DataError, match=f"is missing on node {socket.gethostname()}") as caught:
        rows.read(np.array([0]))

    assert caught.value.exit_code == ExitCode.MISSING_INPUT


@pytest.mark.parametrize("kind", [CaptionRows, ConversationRows])
def test_rows_through_a_nodes_cache_are_the_same(
    config: ImageDataConfig, tmp_path: Path, kind: type[CaptionRows] | type[ConversationRows]
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
    assert stored == sorted(example.path.read_bytes() for example in rows.examples[1:])


@pytest.mark.parametrize("kind", [CaptionRows, ConversationRows])
@pytest.mark.parametrize("has_cache", [False, True])
def test_rows_of_a_url_are_those_of_the_folder(
    config: ImageDataConfig,
    tmp_path: Path,
    kind: type[CaptionRows] | type[ConversationRows],
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
    assert caption_rows(there).fingerprint == caption_rows(config).fingerprint


@pytest.mark.parametrize("kind", [CaptionRows, ConversationRows])
def test_rows_that_are_too_long_keep_their_place(
    config: ImageDataConfig, kind: type[CaptionRows] | type[ConversationRows]
) -> None:
    rows = kind(with_settings(config, max_length=8), num_patches=NUM_PATCHES, seed=0)

    assert rows.read(np.array([0]))["error"].to_pylist() == ["too long"]


def test_too_many_bad_records_stop_the_run(config: ImageDataConfig) -> None:
    file = Path(config.root) / config.annotations[0]
    content = json.loads(file.read_text())
    content["annotations"][0]["caption"] = " "
    file.write_text(json.dumps(content))

    with pytest.raises(DataError, match=r"1 of 24 records .*empty caption"):
        caption_rows(config)
    assert (
        caption_rows(with_settings(config, max_bad_fraction=0.1)).counts["left out: empty caption"]
        == 1
    )


def test_an_empty_part_is_refused(config: ImageDataConfig) -> None:
    nearly_none = with_settings(config, split={"heldout_fraction": 1e-9})

    with pytest.raises(DataError, match="heldout part has 0 of 12 images"):
        caption_rows(nearly_none, part="heldout")


def test_validation_images_are_no_training_images(config: ImageDataConfig) -> None:
    split = {"heldout_fraction": 0.4, "validation_fraction": 0.3}
    with_it = with_settings(config, split=split)
    validation = caption_rows(with_it, part="validation").image_ids
    assert validation
    assert (
        caption_rows(with_it, part="heldout").image_ids
        == caption_rows(config, part="heldout").image_ids
    )
    rest = sorted([*validation, *caption_rows(with_it).image_ids])
    assert rest == sorted(caption_rows(config).image_ids)


def test_a_missing_folder_is_missing_input(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="None of the 4 files") as caught:
        caption_rows(ImageDataConfig(root=str(tmp_path / "nothing")))

    assert caught.value.exit_code == ExitCode.MISSING_INPUT
