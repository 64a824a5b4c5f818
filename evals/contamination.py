"""Refuse to score what the model was trained on.

Source: COCO's years share one id space, so images are compared by integer id, never by name.
Limits: knows what this checkpoint and its ancestors learnt in phiray; what a pretrained CLIP or
Phi-2 saw before cannot be known. Ids of two data sets never meet, so a text that stands in both
(RedPajama's source `book` is in part Project Gutenberg) is not found.
"""

from collections.abc import Iterable, Mapping, Sequence

from phiray.errors import DataError

_NAMED = 5
"""Ids that the message names."""


def check_contamination(
    ledger: Mapping[str, Sequence[int | str]], kind: str, evaluated: Iterable[int | str]
) -> int:
    """Check that no evaluated id was trained on.

    Args:
        ledger: ids learnt from, by kind (`image`, `book`, `document`).
        kind: which of them.
        evaluated: ids about to be scored.

    Returns:
        How many trained ids were compared with.

    Raises:
        DataError: naming the first ids that are in both.
    """
    trained = {str(item) for item in ledger.get(kind, [])}
    shared = sorted({str(item) for item in evaluated} & trained, key=lambda item: (len(item), item))
    if shared:
        names = ", ".join(shared[:_NAMED]) + (", ..." if len(shared) > _NAMED else "")
        raise DataError(
            f"{len(shared)} evaluated {kind} ids were trained on: {names}. Held-out data must not "
            "be in the checkpoint's ledger. Evaluate with the split (salt and held-out share) "
            "that the checkpoint was trained with."
        )
    return len(trained)


def check_document_contamination(
    ledger: Mapping[str, Sequence[int | str]], keys: Iterable[str]
) -> int:
    """Check documents by their split key, e.g. `book:1342`; returns as `check_contamination`."""
    by_kind: dict[str, list[str]] = {}
    for key in keys:
        kind, _, name = key.partition(":")
        by_kind.setdefault(kind, []).append(name)
    return sum(check_contamination(ledger, kind, names) for kind, names in by_kind.items())
