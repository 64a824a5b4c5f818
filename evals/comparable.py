"""Say where two results of one suite were not made alike, so that a difference misleads nobody.

Limits: compares what both results recorded of their data and settings; nothing is scored again.
"""

from collections.abc import Mapping, Sequence

from phiray.evals.bootstrap import ENOUGH_CLUSTERS, MIN_CLUSTERS
from phiray.evals.collect import EvaluatedRun

NO_SHARED_SAMPLE = (
    "The two were scored on no common sample, so no difference can be taken. Evaluate both on the "
    "same data."
)

MAX_TOKEN_DIFFERENCE = 0.01
"""Share of the label tokens by which two runs may differ and still count as equally long: batches
are counted in rows, whose answers are not all of one length."""
_EXPERTS = ("experts", "experts_per_token")
"""Of a model's sizes, those that are said in words."""
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


def training_notes(first: EvaluatedRun, second: EvaluatedRun) -> list[str]:
    """Say what two runs were trained on, as or for, where that differs beside their method."""
    return _subject_notes(first, second) + _token_notes(first, second)


def _token_notes(first: EvaluatedRun, second: EvaluatedRun) -> list[str]:
    fewer, more = sorted((first.label_tokens, second.label_tokens))
    if more - fewer <= MAX_TOKEN_DIFFERENCE * more:
        return []
    return [
        f"{first.name} learnt from {first.label_tokens:,} label tokens and {second.name} from "
        f"{second.label_tokens:,}: more than {MAX_TOKEN_DIFFERENCE:.0%} apart, so this is no "
        "comparison at equal tokens."
    ]


def _subject_notes(first: EvaluatedRun, second: EvaluatedRun) -> list[str]:
    found = []
    if _differ(first.source, second.source):
        found.append(f"{first.name} learnt from {first.source}, {second.name} from {second.source}")
    own, other = first.model, second.model
    if any(_differ(own.get(name), other.get(name)) for name in _EXPERTS):
        found.append(f"{first.name} {_say_experts(own)}, {second.name} {_say_experts(other)}")
    changed = [
        f"{name} is {own[name]} and {other[name]}"
        for name in own
        if name not in _EXPERTS and _differ(own[name], other.get(name))
    ]
    found += [", ".join(changed)] if changed else []
    if not found:
        return []
    return [
        f"The runs differ in training: {'; '.join(found)}. What a difference comes from cannot be "
        "told."
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


def _say_experts(model: Mapping[str, object]) -> str:
    if not model["experts"]:
        return "is dense"
    return f"has a mixture of {model['experts']} experts, {model['experts_per_token']} per token"


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
