"""Write the whole built-in world below one folder, byte for byte the same for one seed.

Source: the layouts of the real downloads (see phiray/config/data.py).
Limits: overwrites files of the same name; a folder with other data sets in it is not cleaned.
"""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from phiray.data.split import book_key, document_key, image_key, is_heldout
from phiray.types import Progress
from phiray.world.books import write_book
from phiray.world.captions import captions, coco_captions, file_name
from phiray.world.conversations import Turn, conversation, llava_rows
from phiray.world.phrases import Material, PhraseGuard
from phiray.world.pictures import picture_bytes
from phiray.world.scenes import Scene, draw_heldout_scene, draw_scene, reserved_combinations
from phiray.world.settings import WorldConfig
from phiray.world.tokenizer import train_tokenizer
from phiray.world.web_rows import FILE_NAMES, write_row

LARGEST_IMAGE_ID = 581_929
"""The largest image id of COCO 2017."""
FIRST_BOOK = 101
PROGRESS_EVERY = 50

IMAGE_FOLDER = "coco/images/train2017"
CAPTION_FILE = "coco/annotations/captions_train2017.json"
CONVERSATION_FILE = "instruct/world_conversations.json"
BOOK_FOLDER = "gutenberg/books"
ROW_FOLDER = "redpajama"
TOKENIZER_FILE = "tokenizer/tokenizer.json"


@dataclass(frozen=True)
class Gallery:
    """All that is known of the pictures before they are drawn."""

    scenes: Mapping[int, Scene]
    captions: Mapping[int, list[str]]
    turns: Mapping[int, list[Turn]]
    heldout: frozenset[int]

    def sentences(self, *, heldout: bool) -> list[str]:
        """Return captions and answers of one part."""
        ids = [image_id for image_id in self.scenes if (image_id in self.heldout) == heldout]
        answers = [answer for image_id in ids for _, answer in self.turns[image_id]]
        return [text for image_id in ids for text in self.captions[image_id]] + answers


def build_world(
    root: Path, *, seed: int, settings: WorldConfig | None = None, progress: Progress | None = None
) -> None:
    """Write pictures, captions, conversations, books, rows and tokenizer below `root`.

    Args:
        root: folder to write into; made when absent.
        seed: the same seed and settings give the same files, byte for byte.
        settings: how much of everything; none takes the defaults.
        progress: told of the pictures, the slowest part.
    """
    settings = settings or WorldConfig()
    gallery = plan_gallery(seed, settings)
    material = Material(reserved_combinations(seed), PhraseGuard(gallery.sentences(heldout=True)))
    _write_gallery(root, gallery, seed=seed, settings=settings)
    _draw_pictures(root, gallery, seed=seed, settings=settings, progress=progress)
    books = _write_books(root, material, seed=seed, settings=settings, progress=progress)
    rows = _write_rows(root, material, seed=seed, settings=settings, progress=progress)
    # As the stages will render them, so that the words of the template become tokens.
    turns = [
        f"USER: {question} ASSISTANT: {answer}"
        for image_id, image_turns in gallery.turns.items()
        if image_id not in gallery.heldout
        for question, answer in image_turns
    ]
    texts = [*gallery.sentences(heldout=False), *turns, *books, *rows]
    train_tokenizer(
        [f" {text}" for text in texts], root / TOKENIZER_FILE, vocab_size=settings.vocab_size
    )


def plan_gallery(seed: int, settings: WorldConfig) -> Gallery:
    """Choose ids, scenes, captions and conversations; a pure function of its arguments."""
    ids = random.Random(f"{seed}:ids").sample(range(1, LARGEST_IMAGE_ID + 1), settings.num_images)
    heldout = frozenset(i for i in ids if _is_heldout(image_key(i), settings))
    reserved = reserved_combinations(seed)
    scenes: dict[int, Scene] = {}
    texts: dict[int, list[str]] = {}
    turns: dict[int, list[Turn]] = {}
    for image_id in sorted(ids):
        rng = random.Random(f"{seed}:scene:{image_id}")
        draw = draw_heldout_scene if image_id in heldout else draw_scene
        scenes[image_id] = draw(rng, reserved)
        texts[image_id] = captions(scenes[image_id], rng)
        turns[image_id] = conversation(scenes[image_id], rng)
    return Gallery(scenes=scenes, captions=texts, turns=turns, heldout=heldout)


def _is_heldout(key: str, settings: WorldConfig) -> bool:
    return is_heldout(
        key, salt=settings.split.salt, heldout_fraction=settings.split.heldout_fraction
    )


def _write_gallery(root: Path, gallery: Gallery, *, seed: int, settings: WorldConfig) -> None:
    coco = coco_captions(gallery.captions, image_size=settings.image_size)
    _write_text(root / CAPTION_FILE, json.dumps(coco))
    rows = llava_rows(gallery.turns, random.Random(f"{seed}:markers"))
    _write_text(root / CONVERSATION_FILE, json.dumps(rows))


def _draw_pictures(
    root: Path, gallery: Gallery, *, seed: int, settings: WorldConfig, progress: Progress | None
) -> None:
    folder = root / IMAGE_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for done, (image_id, scene) in enumerate(gallery.scenes.items(), start=1):
        rng = random.Random(f"{seed}:picture:{image_id}")
        data = picture_bytes(scene, rng, image_size=settings.image_size)
        (folder / file_name(image_id)).write_bytes(data)
        _tell(progress, "drawing pictures", done, settings.num_images)


def _write_books(
    root: Path, material: Material, *, seed: int, settings: WorldConfig, progress: Progress | None
) -> list[str]:
    folder = root / BOOK_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    training: list[str] = []
    for index in range(settings.num_books):
        number = FIRST_BOOK + index
        book = write_book(
            number,
            random.Random(f"{seed}:book:{number}"),
            material=material,
        )
        (folder / f"pg{number}.txt").write_bytes(book.data)
        if not _is_heldout(book_key(number), settings):
            training.append(book.story)
        _tell(progress, "writing books", index + 1, settings.num_books)
    return training


def _write_rows(
    root: Path, material: Material, *, seed: int, settings: WorldConfig, progress: Progress | None
) -> list[str]:
    lines: dict[str, list[str]] = {source: [] for source in FILE_NAMES}
    training: list[str] = []
    sources = list(FILE_NAMES)
    for index in range(settings.num_rows):
        source = sources[index % len(sources)]
        rng = random.Random(f"{seed}:row:{index}")
        row = write_row(source, index, rng=rng, material=material)
        lines[source].append(row.line)
        if not _is_heldout(document_key(row.text), settings):
            training.append(row.text)
        _tell(progress, "writing rows", index + 1, settings.num_rows)
    for source, source_lines in lines.items():
        _write_text(root / ROW_FOLDER / FILE_NAMES[source], "\n".join(source_lines) + "\n")
    return training


def _write_text(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8", newline="\n")


def _tell(progress: Progress | None, description: str, done: int, total: int) -> None:
    if progress is not None and (done % PROGRESS_EVERY == 0 or done == total):
        progress(description, done, total)
