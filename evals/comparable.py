"""Say where two results of one suite were not made alike, so that a difference misleads nobody.

Limits: compares what both results recorded of their data and settings; nothing is scored again.
"""

from collections.abc import Mapping, Sequence

from phiray.evals.bootstrap import ENOUGH_CLUSTERS, MIN_CLUSTERS

NO_SHARED_SAMPLE = (
    "The two were scored on no common sample, so no difference can be taken. Evaluate both on the "
    "same data."
)

_WITHOUT_EFFECT = ("batch_size", "gallery_size")
"""Settings that alter no number."""
_MEANINGS = {
    "examples_sha256": "The two were scored on other examples; each difference is taken on the n "
    "samples that both have.",
    "idf_sha256": "CIDEr-D was weighed with other inverse document frequencies, so its values do "
    "not compare.",
    "tokenizer_sha256": "The two have other tokenizers; what is counted per token or at the end "
    "token does not compare, bits per byte does.",
}
"""What it means for a comparison when a recorded hash differs."""


def comparison_notes(
    first: Mapping[str, object], second: Mapping[str, object], *, data_set: str | None = None
) -> list[str]:
    """List what a reader must know before taking the difference of two results for one of models.

    Args:
        first: `data` of a result.
        second: `data` of another result of the same suite.
        data_set: where a suite has several, which of them is compared.

    Returns:
        Sentences; none where both were made alike.
    """
    notes = _settings_notes(_mapping(first, "settings"), _mapping(second, "settings"))
    own, other = (
        {**found, **(_mapping(found, data_set) if data_set else {})} for found in (first, second)
    )
    lengths = own.get("sequence_length"), other.get("sequence_length")
    if _differ(*lengths):
        notes.append(
            f"Documents were scored in windows of {lengths[0]} and of {lengths[1]} tokens; a "
            "longer window gives more context, and so a better value."
        )
    return notes + [
        meaning for key, meaning in _MEANINGS.items() if _differ(own.get(key), other.get(key))
    ]


def cluster_notes(counts: Sequence[int]) -> list[str]:
    """Say so where differences stand on no, or on few, images or documents.

    Args:
        counts: images or documents behind each difference.
    """
    if not counts:
        return [NO_SHARED_SAMPLE]
    fewest = min(counts)
    if fewest >= ENOUGH_CLUSTERS:
        return []
    verdict = f"; below {MIN_CLUSTERS} neither is called better" if fewest < MIN_CLUSTERS else ""
    return [
        f"Differences stand on as few as {fewest} images or documents. Below {ENOUGH_CLUSTERS} "
        f"their intervals are too narrow{verdict}."
    ]


def _settings_notes(first: Mapping[str, object], second: Mapping[str, object]) -> list[str]:
    names = sorted({*first, *second} - {*_WITHOUT_EFFECT})
    changed = [
        f"{name} {first.get(name)} and {second.get(name)}"
        for name in names
        if first.get(name) != second.get(name)
    ]
    return [f"The two were scored with other settings: {', '.join(changed)}."] if changed else []


def _differ(first: object, second: object) -> bool:
    """Say whether both are known and not equal."""
    return None not in (first, second) and first != second


def _mapping(data: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}
