"""What a reader must know beside the numbers of a suite.

Limits: says what settings, records and the names of files show; nothing is looked up.
"""

from collections.abc import Mapping

from phiray.config.data import SplitConfig
from phiray.data.sources.annotations import say_counts
from phiray.evals.bootstrap import ENOUGH_CLUSTERS
from phiray.evals.caption import CaptionTask
from phiray.evals.examples import MAX_CONSTANT_IMAGES, MAX_IDF_IMAGES
from phiray.evals.instruct import InstructTask
from phiray.evals.settings import TEXT_SETS, EvalSettings
from phiray.world.clip_record import ClipRecord

FEW_IMAGES = 200
"""Below this, CIDEr-D moves by several points with the choice of images."""

_CUSTOM = "custom"
"""`vision.model` of a tower that comes as a folder."""
_REAL_INSTRUCT = "llava_instruct_150k.json"


def lm_notes(settings: EvalSettings, num_documents: Mapping[str, int]) -> list[str]:
    """Say how documents are scored; `num_documents` were, of each set."""
    notes = [
        "Language models are scored on both held-out sets in disjoint windows of the training "
        "sequence length, with one token of context; the first token follows EOS. At most "
        f"{settings.max_documents} documents of each set count, and of each its first "
        f"{settings.max_document_characters:,} characters.",
        "The unigram row knows only how frequent each token is in that set's train split (add-one "
        "smoothing).",
        "Whether a text stands in both sets is not checked: books have other ids than web rows, "
        "and RedPajama's source `book` comes in part from Project Gutenberg. A model may so have "
        "learnt from the one set what is held out of the other.",
    ]
    missing = [source for source in TEXT_SETS if source not in num_documents]
    if missing:
        notes.append(f"No document of {' or '.join(missing)} was there, so none was scored.")
    for source, count in num_documents.items():
        notes += _few_notes(count, f"documents of {source}")
    return notes


def caption_notes(task: CaptionTask, *, vision: str) -> list[str]:
    """Say how captions are scored, and what the blind rows are; `vision` tells of the tower."""
    notes = [
        "Captions are scored as they are tokenised, with one blank before them; EOS apart. CIDEr-D "
        "uses inverse document frequencies frozen from the captions of the train split (of its "
        f"first {MAX_IDF_IMAGES:,} images by hash of their id), so it is not comparable to "
        "published Karpathy-split numbers.",
        "Blind rows are scored by the same code on the same images: blank (an image of the mean "
        "colour), shuffled (another image of the set), constant (of the captions of "
        f"{len(task.train_captions):,} train images, the first by hash of their id and at most "
        f"{MAX_CONSTANT_IMAGES:,}, the one that scores best when said of all of these), untrained "
        "(the same model with a fresh projector).",
        vision,
    ]
    if len(task.examples) < FEW_IMAGES:
        notes.append(
            f"Only {len(task.examples)} images were scored; below {FEW_IMAGES}, caption scores "
            "are unsteady, as their intervals show."
        )
    return notes


def instruct_notes(task: InstructTask, files: Mapping[str, int], *, vision: str) -> list[str]:
    """Say how answers are scored, and what the rows are not.

    Args:
        task: what was scored.
        files: how many of the scored conversations come from each file.
        vision: what is known of the tower.
    """
    notes = [
        "Answers are scored given the gold history of their conversation. Generated answers are "
        f"cut at {task.settings.max_new_tokens} tokens.",
        vision,
    ]
    others = {name: count for name, count in sorted(files.items()) if name != _REAL_INSTRUCT}
    if others:
        sources = ", ".join(f"{count} from {name}" for name, count in others.items())
        notes.append(
            f"Of {sum(files.values())} scored conversations {sources}: derived or generated rows "
            "in the schema of LLaVA-Instruct, not LLaVA-Instruct-150K."
        )
    num_images = len({example.image_id for example in task.examples})
    return notes + _few_notes(num_images, "images with conversations")


def skipped_notes(skipped: Mapping[str, int]) -> list[str]:
    """Say what of the held-out part could not be scored, by reason; nothing if all of it was."""
    return [f"Held out but not scored: {say_counts(skipped)}."] if skipped else []


def copies_notes(num_compared: object) -> list[str]:
    """Say so where nobody could look whether copies of the pictures were trained on.

    Args:
        num_compared: signed training images; None where the checkpoint carries none.
    """
    if num_compared is not None:
        return []
    return [
        "Whether copies of scored pictures were trained on under other ids is not known: the "
        "checkpoint carries no signatures of its training images."
    ]


def _few_notes(count: int, what: str) -> list[str]:
    """Say so where intervals are drawn from few images or documents."""
    if count >= ENOUGH_CLUSTERS:
        return []
    return [f"Only {count} {what} were scored; below {ENOUGH_CLUSTERS}, intervals are too narrow."]


def vision_note(model: str, record: ClipRecord | None, *, split: SplitConfig) -> str:
    """Say what the frozen tower may have seen before.

    Args:
        model: `vision.model`.
        record: of the tower's training by phiray, if there is one.
        split: of the run; its held-out part is scored.
    """
    if model != _CUSTOM:
        return "What a pretrained CLIP has seen before cannot be known."
    if record is None:
        return (
            "The frozen vision tower came from a custom folder of weights; what it has seen "
            "before is not known here."
        )
    training = f"{record.num_images:,} images (seed {record.seed}, {record.steps} steps)"
    if record.split != split:
        return (
            f"The frozen vision tower is a small CLIP that phiray trained on {training} of another "
            "split than the run's: it may have seen images that are scored here."
        )
    return (
        f"The frozen vision tower is no published CLIP but a small one that phiray trained on "
        f"{training} of the train split."
    )
