import hashlib
import json
import re
from pathlib import Path

import pytest

from phiray.config.data import SplitConfig
from phiray.data.sources.documents import iter_documents
from phiray.data.sources.records import Document
from phiray.data.split import image_key, is_heldout
from phiray.world import build
from phiray.world.build import (
    BOOK_FOLDER,
    CAPTION_FILE,
    CONVERSATION_FILE,
    IMAGE_FOLDER,
    ROW_FOLDER,
    TOKENIZER_FILE,
    build_world,
)
from phiray.world.scenes import COLOURS, PLACES, SHAPES, reserved_combinations
from phiray.world.settings import WorldConfig

SETTINGS = WorldConfig(num_images=300, num_books=80, num_rows=140)
SEED = 4
NUM_SOURCES = 7


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    build_world(root, seed=SEED, settings=SETTINGS)
    return root


def heldout(image_id: int) -> bool:
    split = SETTINGS.split
    key = image_key(image_id)
    return is_heldout(key, salt=split.salt, heldout_fraction=split.heldout_fraction)


def image_texts(root: Path, *, of_heldout: bool) -> list[str]:
    """Return captions and answers, read back from the files."""
    notes = json.loads((root / CAPTION_FILE).read_text())["annotations"]
    texts = [note["caption"] for note in notes if heldout(note["image_id"]) == of_heldout]
    for row in json.loads((root / CONVERSATION_FILE).read_text()):
        if heldout(int(row["id"])) == of_heldout:
            texts += [turn["value"] for turn in row["conversations"] if turn["from"] == "gpt"]
    return texts


def long_texts(root: Path) -> list[str]:
    books = [file.read_bytes().decode("latin-1") for file in (root / BOOK_FOLDER).iterdir()]
    rows = [
        json.loads(line)["text"]
        for file in (root / ROW_FOLDER).iterdir()
        for line in file.read_text().splitlines()
    ]
    return books + rows


def split_documents(root: Path, *, split: SplitConfig) -> tuple[list[str], list[str]]:
    """Return the texts of books and rows as the readers give them: train part, held-out part."""
    parts: tuple[list[str], list[str]] = ([], [])
    for entry in [*iter_documents("gutenberg", root), *iter_documents("redpajama", root)]:
        assert isinstance(entry, Document)
        part = is_heldout(entry.key, salt=split.salt, heldout_fraction=split.heldout_fraction)
        parts[part].append(entry.text)
    return parts


def piece_of(text: str) -> str:
    """Return a piece from the middle, long enough to stand in one document only."""
    words = text.split()
    return " ".join(words[len(words) // 2 :][:25])


def is_seen(text: str, seen: list[str]) -> bool:
    return any(text in " ".join(other.split()) for other in seen)


def combinations(texts: list[str]) -> set[tuple[str, str, str]]:
    """Find shape, colour and place that are said of one thing, place behind or in front."""
    shape, colour, place = ("|".join(words) for words in (SHAPES, COLOURS, PLACES))
    behind = re.compile(rf"({colour}) ({shape}) (?:at the )?({place})")
    front = re.compile(rf"({place}) (?:a )?({colour}) ({shape})")
    found: set[tuple[str, str, str]] = set()
    for text in texts:
        found |= {(s, c, p) for c, s, p in behind.findall(text)}
        found |= {(s, c, p) for p, c, s in front.findall(text)}
    return found


def digest(root: Path) -> dict[str, str]:
    return {
        str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


def test_build_world_writes_every_data_set(world: Path) -> None:
    assert len(list((world / IMAGE_FOLDER).glob("*.jpg"))) == SETTINGS.num_images
    assert len(list((world / BOOK_FOLDER).glob("pg*.txt"))) == SETTINGS.num_books
    assert len(list((world / ROW_FOLDER).glob("*.jsonl"))) == NUM_SOURCES
    assert (world / TOKENIZER_FILE).is_file()


def test_build_world_is_the_same_byte_for_byte(world: Path, tmp_path: Path) -> None:
    build_world(tmp_path, seed=SEED, settings=SETTINGS)

    assert digest(tmp_path) == digest(world)


def test_build_world_differs_with_the_seed(world: Path, tmp_path: Path) -> None:
    build_world(tmp_path, seed=SEED + 1, settings=SETTINGS)

    assert digest(tmp_path)[CAPTION_FILE] != digest(world)[CAPTION_FILE]


def test_no_heldout_sentence_stands_in_books_or_rows(world: Path) -> None:
    sentences = [text for text in image_texts(world, of_heldout=True) if len(text.split()) > 3]
    plain = [" ".join(re.findall(r"[a-z0-9]+", text.lower())) for text in long_texts(world)]

    assert len(sentences) > 100
    for sentence in sentences:
        words = " ".join(re.findall(r"[a-z0-9]+", sentence.lower()))
        assert not any(words in text for text in plain), sentence


def test_reserved_combinations_occur_in_the_heldout_part_alone(world: Path) -> None:
    reserved = reserved_combinations(SEED)

    assert combinations(image_texts(world, of_heldout=True)) & reserved
    assert not combinations(image_texts(world, of_heldout=False)) & reserved
    assert not combinations(long_texts(world)) & reserved
    assert len(combinations(long_texts(world))) > 100


def test_the_tokenizer_sees_no_text_of_the_heldout_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(build, "train_tokenizer", lambda texts, *_, **__: seen.extend(texts))
    build_world(tmp_path, seed=SEED, settings=SETTINGS)
    # Some captions are said of pictures of both parts.
    said, heldout_said = (
        {text for text in image_texts(tmp_path, of_heldout=part) if len(text.split()) > 3}
        for part in (False, True)
    )
    parts, heldout_parts = (
        {piece_of(text) for text in texts}
        for texts in split_documents(tmp_path, split=SETTINGS.split)
    )
    for wanted in (said, parts):
        assert wanted
        assert [text for text in wanted if not is_seen(text, seen)] == []
    for unwanted in (heldout_said - said, heldout_parts):
        assert len(unwanted) > 10
        assert [text for text in unwanted if is_seen(text, seen)] == []


def test_build_world_tells_its_progress_to_the_end(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    settings = WorldConfig(num_images=20, num_books=2, num_rows=7)

    build_world(tmp_path, seed=0, settings=settings, progress=lambda *event: told.append(event))

    assert ("drawing pictures", 20, 20) in told
    assert ("writing books", 2, 2) in told
    assert ("writing rows", 7, 7) in told
