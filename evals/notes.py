"""What a reader must know beside the numbers of a suite.

Limits: says what the settings and the names of files show; nothing is looked up.
"""

from collections.abc import Sequence

from phiray.config.model import ModelDescription
from phiray.evals.caption import CaptionTask
from phiray.evals.instruct import InstructTask
from phiray.evals.settings import EvalSettings

FEW_IMAGES = 200
"""Below this, CIDEr-D moves by several points with the choice of images."""

_REAL_INSTRUCT = "llava_instruct_150k.json"


def lm_notes(settings: EvalSettings) -> list[str]:
    """Say how documents are scored."""
    return [
        "Language models are scored on both held-out sets in disjoint windows of the training "
        "sequence length, with one token of context; the first token follows EOS. At most "
        f"{settings.max_documents} documents of each set count, and of each its first "
        f"{settings.max_document_characters:,} characters.",
        "The unigram row knows only how frequent each token is in that set's train split (add-one "
        "smoothing).",
    ]


def caption_notes(description: ModelDescription, task: CaptionTask) -> list[str]:
    """Say how captions are scored, and what the blind rows are."""
    notes = [
        "Captions are scored as they are tokenised, with one blank before them; EOS apart. CIDEr-D "
        "uses inverse document frequencies frozen from the train split's captions, so it is not "
        "comparable to published Karpathy-split numbers.",
        "Blind rows are scored by the same code on the same images: blank (an image of the mean "
        "colour), shuffled (another image of the set), constant (the train caption that is best "
        "to say always), untrained (the same model with a fresh projector).",
        *_vision_notes(description),
    ]
    if len(task.examples) < FEW_IMAGES:
        notes.append(
            f"Only {len(task.examples)} images were scored; below {FEW_IMAGES}, caption scores "
            "are unsteady, as their intervals show."
        )
    return notes


def instruct_notes(
    description: ModelDescription, task: InstructTask, files: Sequence[str]
) -> list[str]:
    """Say how answers are scored, and what the rows are not."""
    notes = [
        "Answers are scored given the gold history of their conversation. Generated answers are "
        f"cut at {task.settings.max_new_tokens} tokens.",
        *_vision_notes(description),
    ]
    if _REAL_INSTRUCT not in files:
        notes.append(
            f"The conversations come from {', '.join(files)}. They are derived or generated rows "
            "in the schema of LLaVA-Instruct, not LLaVA-Instruct-150K."
        )
    return notes


def _vision_notes(description: ModelDescription) -> list[str]:
    if description.vision is None or description.vision.model != "custom":
        return ["What a pretrained CLIP has seen before cannot be known."]
    return [
        "The frozen vision tower is no published CLIP but a small one, trained for this data on "
        "its train split."
    ]
