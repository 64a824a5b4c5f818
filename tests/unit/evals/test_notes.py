"""What the numbers do not say by themselves."""

from phiray.config.model import ModelDescription, PhiConfig, VisionConfig
from phiray.evals.caption import CaptionTask
from phiray.evals.cider import idf_from_references
from phiray.evals.instruct import InstructTask
from phiray.evals.notes import caption_notes, instruct_notes, lm_notes
from phiray.evals.settings import EvalSettings
from tests.unit.evals.toys import byte_tokenizer


def _description(model: str) -> ModelDescription:
    return ModelDescription(
        kind="vision-language", language_model=PhiConfig(), vision=VisionConfig(model=model)
    )


def _instruct_task() -> InstructTask:
    return InstructTask([], byte_tokenizer(), 1, 100, "", EvalSettings(max_new_tokens=33))


def test_caption_notes_warn_of_few_images_and_name_a_small_clip() -> None:
    task = CaptionTask([], [], idf_from_references([]), byte_tokenizer(), 1, EvalSettings())
    notes = " ".join(caption_notes(_description("custom"), task))
    assert "Only 0 images were scored" in notes
    assert "no published CLIP" in notes
    assert "cannot be known" in " ".join(caption_notes(_description("ViT-B-32"), task))


def test_instruct_notes_say_which_rows_are_not_instruct_150k() -> None:
    derived = " ".join(
        instruct_notes(_description("custom"), _instruct_task(), ["derived_from_coco.json"])
    )
    assert "derived_from_coco.json" in derived
    assert "not LLaVA-Instruct-150K" in derived
    assert "33 tokens" in derived
    real = instruct_notes(_description("x"), _instruct_task(), ["llava_instruct_150k.json"])
    assert "not LLaVA-Instruct-150K" not in " ".join(real)


def test_lm_notes_name_the_limits() -> None:
    notes = " ".join(lm_notes(EvalSettings(max_documents=9, max_document_characters=1234)))
    assert "9 documents" in notes
    assert "1,234 characters" in notes
