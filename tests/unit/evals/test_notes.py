"""What the numbers do not say by themselves."""

from dataclasses import replace

import numpy as np

from phiray.config.data import SplitConfig
from phiray.evals.caption import CaptionTask
from phiray.evals.cider import idf_from_references
from phiray.evals.instruct import InstructExample, InstructTask
from phiray.evals.notes import caption_notes, instruct_notes, lm_notes, skipped_notes, vision_note
from phiray.evals.settings import EvalSettings
from phiray.world.clip_record import ClipRecord
from tests.unit.evals.toys import byte_tokenizer

RECORD = ClipRecord(num_images=1234, split=SplitConfig(), seed=7, steps=200, tower_sha256="x")


def _instruct_task() -> InstructTask:
    return InstructTask([], byte_tokenizer(), 1, 100, "", EvalSettings(max_new_tokens=33))


def _caption_task() -> CaptionTask:
    references = [["a dog"], ["a cat"]]
    return CaptionTask(
        [], references, idf_from_references(references), byte_tokenizer(), 1, EvalSettings()
    )


def test_caption_notes_warn_of_few_images_and_limit_the_constant() -> None:
    notes = " ".join(caption_notes(_caption_task(), vision="What the tower is."))
    assert "Only 0 images were scored" in notes
    assert "of the captions of 2 train images" in notes
    assert "at most 1,000" in notes
    assert "What the tower is." in notes


def test_vision_note_tells_of_a_training_only_what_is_recorded() -> None:
    split = SplitConfig()
    known = vision_note("custom", RECORD, split=split)
    assert "phiray trained on 1,234 images (seed 7, 200 steps) of the train split" in known
    other = vision_note("custom", RECORD, split=SplitConfig(salt="other"))
    assert "another split than the run's" in other
    unknown = vision_note("custom", None, split=split)
    assert "custom folder of weights" in unknown
    assert "train" not in unknown
    assert "cannot be known" in vision_note("ViT-B-32", None, split=split)


def test_instruct_notes_count_the_rows_that_are_not_instruct_150k() -> None:
    files = {"llava_instruct_150k.json": 5, "derived_from_coco.json": 3}
    mixed = " ".join(instruct_notes(_instruct_task(), files, vision=""))
    assert "Of 8 scored conversations 3 from derived_from_coco.json" in mixed
    assert "not LLaVA-Instruct-150K" in mixed
    assert "33 tokens" in mixed
    real = instruct_notes(_instruct_task(), {"llava_instruct_150k.json": 5}, vision="")
    assert "not LLaVA-Instruct-150K" not in " ".join(real)


def test_lm_notes_name_the_limits() -> None:
    settings = EvalSettings(max_documents=9, max_document_characters=1234)
    notes = " ".join(lm_notes(settings, {"gutenberg": 30}))
    assert "9 documents" in notes
    assert "1,234 characters" in notes
    assert "RedPajama's source `book` comes in part from Project Gutenberg" in notes


def test_notes_of_lm_and_instruct_warn_of_few_documents_or_images() -> None:
    settings = EvalSettings()
    enough = lm_notes(settings, {"gutenberg": 30, "redpajama": 30})
    few = lm_notes(settings, {"gutenberg": 29, "redpajama": 30})
    assert few == [
        *enough,
        "Only 29 documents of gutenberg were scored; below 30, intervals are too narrow.",
    ]
    pixels = np.zeros((3, 2, 2), dtype=np.uint8)
    examples = [InstructExample(str(k), k // 2, pixels, []) for k in range(60)]
    task = replace(_instruct_task(), examples=examples)
    assert not any("Only" in note for note in instruct_notes(task, {}, vision=""))
    fewer = replace(task, examples=examples[:-2])
    assert "Only 29 images with conversations" in instruct_notes(fewer, {}, vision="")[-1]


def test_skipped_notes_count_by_reason_and_are_silent_where_all_was_scored() -> None:
    assert skipped_notes({}) == []
    assert skipped_notes({"too long": 1, "broken image": 3}) == [
        "Held out but not scored: 3 broken image, 1 too long."
    ]
