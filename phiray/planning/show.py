"""Lay a plan out for people: rows of text, with units that can be read.

Limits: text only; `--json` has all figures.
"""

from dataclasses import asdict

from phiray.planning.plan import GIB, Plan

_MEMORY_NAMES = {
    "weights": "weights",
    "copies": "bf16 copies, or gathered blocks",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "activations": "activations",
    "logits": "logits",
    "cache": "cache",
    "workspace": "workspace",
    "heap": "slack of the heap",
}
_STRATEGY_NAMES = {"ddp": "DDP", "fsdp2": "FSDP2 (not yet)", "lora": "LoRA (not yet)"}
_SCALES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def memory_header(plan: Plan) -> list[str]:
    """Return the columns of the memory table; those that phiray does not train with say so."""
    return ["GiB per worker", *(_STRATEGY_NAMES[name] for name in plan.memory)]


def memory_rows(plan: Plan) -> list[list[str]]:
    """Return a row for each part of memory, then the sum and the moment it is reached."""
    rows = [
        [told, *(_gib(getattr(memory, part)) for memory in plan.memory.values())]
        for part, told in _MEMORY_NAMES.items()
        if any(getattr(memory, part) for memory in plan.memory.values())
    ]
    rows.append(["at the peak", *(_gib(memory.total) for memory in plan.memory.values())])
    rows.append(["which is in the", *(memory.moment for memory in plan.memory.values())])
    return rows


def summary_rows(plan: Plan) -> list[tuple[str, str]]:
    """Return what the plan says beside memory, as pairs of a name and a text."""
    counts = asdict(plan.parameters)
    total, trained = counts.pop("total"), counts.pop("trained")
    parts = ", ".join(f"{name} {short(value)}" for name, value in counts.items() if value)
    rows = [
        ("parameters", f"{total:,} ({parts})"),
        ("of them trained", f"{trained:,}"),
        ("rows per micro-batch", f"{plan.rows_per_micro_batch} on each of {plan.workers} workers"),
        ("tokens", f"{short(plan.tokens)} in all, {plan.rows.mean_tokens:g} a row on average"),
        ("model FLOPs", f"{short(plan.flops)} in all, {short(plan.flops_per_row.total)} a row"),
        ("data", f"{plan.data_bytes / 1e9:.3g} GB"),
        ("one checkpoint", f"{plan.checkpoint_bytes / 1e9:.3g} GB"),
    ]
    if plan.feature_bytes:
        rows.insert(-1, ("feature cache", f"{plan.feature_bytes / 1e9:.3g} GB"))
    if plan.pace is not None:
        pace = plan.pace
        rows += [
            ("speed of a worker", f"{short(pace.flops_per_second)}FLOP/s: {pace.basis}"),
            ("one step", f"{pace.step_seconds:.3g} s, {pace.samples_per_second:.4g} rows/s"),
            ("computing", f"{pace.hours:.3g} h"),
        ]
        if pace.usd is not None:
            rows.append(("cost", f"{pace.usd:.0f} USD"))
    if plan.suggestion is not None:
        rows.append(("cheapest that fits", plan.suggestion.told))
    return rows


def short(value: float) -> str:
    """Write a large number with three digits and a letter."""
    for scale, letter in _SCALES:
        if value >= scale:
            return f"{value / scale:.3g} {letter}"
    return f"{value:.3g} "


def _gib(value: int) -> str:
    return f"{value / GIB:.2f}"
