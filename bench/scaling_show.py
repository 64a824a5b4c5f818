"""Show a result of `bench/scaling.py`: the tables of `docs/scaling.md`, and its picture.

Limits: figures are rounded here and nowhere else.
"""

import math
from functools import partial, reduce
from operator import getitem
from pathlib import Path

from scaling_extrapolate import WORKERS, Found
from scaling_words import bends_in_words

SHOWN_SITE = 0
"""The picture and the tables of steps are those of the first site; bends are shown of all."""
PARTS = ("compute", "update", "exchange", "record")
MILLION, BILLION = 1e6, 1e9
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 380, 300, 52, 14, 52, 40
COLOURS = ("#1b6ca8", "#d1495b", "#2e933c", "#8f5db7", "#c77700", "#555555", "#00798c")

Points = list[tuple[int, float]]
"""GPUs, and a value."""


def blocks(found: Found) -> dict[str, str]:
    """Return what the document shows of a result that was extrapolated, by its marks."""
    return {
        "words": bends_in_words(found),
        "compared": _compared(found),
        "constants": _constants(found),
        **_extrapolated(found["extrapolated"]),
    }


def draw(found: Found, path: Path) -> None:
    """Draw useful time, the parts of `instruct`'s step, and the decode fleet, as SVG."""
    stages = _of_site(found["extrapolated"])
    where = f"GPUs ({stages[0]['gpu']}, {stages[0]['network']})"
    instruct = next(stage for stage in stages if stage["stage"] == "instruct")
    seeing = [stage for stage in stages if stage["at"][0]["decode_cores"]]
    panels = (
        _panel(
            "useful share of the GPUs' time",
            {stage["stage"]: _series(stage["at"], "efficiency") for stage in stages},
        ),
        _panel("instruct: seconds of a step, by part", _parts(instruct)),
        _panel(
            "cores that decode, where the batch grows",
            {stage["stage"]: _series(stage["grown"], "decode_cores") for stage in seeing},
        ),
    )
    width = len(panels) * WIDTH
    groups = "".join(
        f'<g transform="translate({index * WIDTH} 0)">{panel}'
        f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{where}</text></g>\n'
        for index, panel in enumerate(panels)
    )
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" '
        f'width="{width}" height="{HEIGHT}" font-family="sans-serif" font-size="11">\n'
        f'<rect width="{width}" height="{HEIGHT}" fill="white"/>\n{groups}</svg>\n'
    )


def _parts(stage: Found) -> dict[str, Points]:
    """Return the parts of a step, checkpoints shared out over the steps between them."""
    every = stage["checkpoint_every_steps"]
    steps = [{"workers": one["workers"], **one["step_seconds"]} for one in stage["at"]]
    shared = [
        {"workers": one["workers"], "seconds": one["checkpoint_seconds"] / every}
        for one in stage["at"]
    ]
    return {
        **{part: _series(steps, part) for part in PARTS},
        "checkpoints": _series(shared, "seconds"),
    }


def _panel(title: str, curves: dict[str, Points]) -> str:
    """Draw curves over the number of GPUs; both axes are logarithmic."""
    values = [value for points in curves.values() for _, value in points]
    decades = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    parts = [f'<text x="{LEFT}" y="16" font-weight="bold">{title}</text>']
    for decade in decades:
        y = _height(10.0**decade, decades)
        parts.append(
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>'
            f'<text x="{LEFT - 4}" y="{y + 4:.1f}" text-anchor="end">{10.0**decade:g}</text>'
        )
    parts += [
        f'<text x="{_place(workers):.1f}" y="{HEIGHT - BOTTOM + 14}" font-size="9" '
        f'text-anchor="middle">{workers}</text>'
        for workers in WORKERS
    ]
    for index, (name, points) in enumerate(curves.items()):
        colour = COLOURS[index]
        line = " ".join(f"{_place(x):.1f},{_height(y, decades):.1f}" for x, y in points)
        x, y = LEFT + 8 + 80 * (index % 4), 32 + 13 * (index // 4)
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{x}" y="{y}" fill="{colour}">{name}</text>'
        )
    return "".join(parts)


def _place(workers: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * math.log2(workers) / math.log2(WORKERS[-1])


def _height(value: float, decades: range) -> float:
    share = (math.log10(value) - decades[0]) / (decades[-1] - decades[0])
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _series(rows: list[Found], key: str) -> Points:
    return [(row["workers"], row[key]) for row in rows if row[key] > 0]


def _of_site(extrapolated: Found) -> list[Found]:
    site = extrapolated["given"]["sites"][SHOWN_SITE]
    return [
        stage
        for stage in extrapolated["stages"]
        if (stage["gpu"], stage["network"]) == (site["gpu"], site["network"])
    ]


def _compared(found: Found) -> str:
    rows = [
        (
            row["stage"],
            row["workers"],
            f"{row['foretold']:.1f}",
            f"{row['measured']:.1f}",
            f"{row['range'][0]:.1f} to {row['range'][1]:.1f}",
            f"{row['difference']:+.1%}",
        )
        for row in found["compared"]
    ]
    head = ("stage", "workers", "foretold rows/s", "measured rows/s", "range", "difference")
    return _table(head, rows)


def _constants(found: Found) -> str:
    constants = found["constants"]
    pair = partial(_both, constants["bare"])
    links, ray = constants["bare"]["2"]["links"], constants["ray"]
    rows = [
        ("product of matrices, GFLOP/s", *pair("matrix_flops_per_second", scale=BILLION)),
        ("bare step of `scratch`, GFLOP/s", *pair("scratch", "flops_per_second", scale=BILLION)),
        ("bare step of `align`, GFLOP/s", *pair("align", "flops_per_second", scale=BILLION)),
        (
            "clipping and AdamW, ns a weight",
            *pair("scratch", "update_seconds_per_weight", scale=1e-9),
        ),
        ("sum of a few bytes, ms", "", f"{2e3 * links['hop_seconds']:.2f}"),
        ("sum of gradients, MB/s", "", f"{links['bytes_per_second'] / MILLION:.0f}"),
        ("JPEGs of 640 x 480 decoded, a second and core", *pair("images_per_second")),
        (
            "checkpoint written, flushed, hashed, MB/s",
            *pair("checkpoint", "bytes_per_second", scale=MILLION),
        ),
        ("hashed alone, MB/s", *pair("checkpoint", "hash_bytes_per_second", scale=MILLION)),
        ("metrics of a step, ms", *pair("record_seconds", scale=1e-3)),
        *(
            (text, *(f"{ray[workers][key] / scale:.2f}" for workers in ("1", "2")))
            for text, key, scale in (
                ("cores that an idle job takes", "idle_cores", 1.0),
                ("wait for Ray's controller at a checkpoint, s", "report_seconds", 1.0),
            )
        ),
        *(
            (
                f"rows of `{name}` without a trainer, a second and worker",
                *(f"{ray[workers][name]['rows_per_second']:.0f}" for workers in ("1", "2")),
            )
            for name in ("scratch", "align")
        ),
        ("controller's question to a worker, ms", f"{1e3 * ray['actor_call_seconds']:.2f}", ""),
        ("start of a run until its first step is done, s", "", f"{constants['start_seconds']:.1f}"),
        (
            "loss of a worker until the next step is done, s",
            "",
            f"{constants['restart']['restart_seconds']:.1f}",
        ),
    ]
    return _table(("constant", "one process", "two at once"), rows)


def _extrapolated(extrapolated: Found) -> dict[str, str]:
    shown = _of_site(extrapolated)
    tables = {stage["stage"]: _steps(stage) for stage in shown}
    tables["demand"] = _demand(shown)
    tables["bends"] = _bends(extrapolated["stages"])
    tables["writers"] = _writers(extrapolated["writers"])
    tables["losses"] = _losses(shown)
    return tables


def _steps(stage: Found) -> str:
    rows = [
        (
            one["workers"],
            f"{one['micro_batches']} x {one['rows_per_micro_batch']}",
            *(f"{one['step_seconds'][part]:.3f}" for part in ("compute", "update", "exchange")),
            f"{one['step_seconds']['total']:.3f}",
            f"{one['checkpoint_share']:.0%}",
            f"{one['efficiency']:.0%}",
            f"{one['hours']:.2f}",
        )
        for one in stage["at"]
    ]
    head = ("GPUs", "rows", "compute s", "update s", "exchange s", "step s", "checkpoints")
    return _table((*head, "useful", "hours"), rows)


def _demand(stages: list[Found]) -> str:
    rows = []
    for index, workers in enumerate(WORKERS):
        cells: list[object] = [workers]
        for stage in stages:
            if stage["stage"] in ("align", "instruct"):
                one = stage["grown"][index]
                cells += [
                    f"{one['rows_per_second']:,.0f}",
                    f"{one['decode_cores']:,.0f}",
                    f"{one['store_bytes_per_second'] / BILLION:.2f}",
                ]
        rows.append(tuple(cells))
    names = [stage["stage"] for stage in stages if stage["stage"] in ("align", "instruct")]
    head = [f"{name}: {what}" for name in names for what in ("rows/s", "cores", "GB/s")]
    return _table(("GPUs", *head), rows)


def _bends(stages: list[Found]) -> str:
    """Show each limit by stage; a cell has one number for each site, in their order."""
    names = list(dict.fromkeys(stage["stage"] for stage in stages))
    rows = []
    for what in stages[0]["bends"]:
        numbers = {
            name: [stage["bends"][what] for stage in stages if stage["stage"] == name]
            for name in names
        }
        rows.append((what, *(_one_or_each(numbers[name]) for name in names)))
    return _table(("from so many GPUs on", *names), rows)


def _one_or_each(numbers: list[int | None]) -> str:
    shown = ["-" if number is None else str(number) for number in numbers]
    return shown[0] if len(set(shown)) == 1 else " / ".join(shown)


def _writers(rows: list[Found]) -> str:
    sizes = {row["stage"]: row["bytes"] for row in rows}
    numbers = sorted({row["writers"] for row in rows})
    seconds = {(row["stage"], row["writers"]): row["seconds"] for row in rows}
    lines = [
        (name, f"{size / BILLION:.1f}", *(f"{seconds[name, number]:.1f}" for number in numbers))
        for name, size in sizes.items()
    ]
    head = [f"{number} writer{'s' if number > 1 else ''}, s" for number in numbers]
    return _table(("stage", "GB", *head), lines)


def _losses(stages: list[Found]) -> str:
    rows = [
        (
            stage["stage"],
            one["workers"],
            f"{one['losses_per_machine_hour']:g}",
            f"{one['restart_seconds']:.0f}",
            f"{one['interval_seconds']:.0f}",
            f"{one['lost_fraction']:.0%}",
            f"{one['best_interval_seconds']:.0f}",
            f"{one['lost_fraction_at_best']:.0%}",
        )
        for stage in stages
        for one in stage["losses"]
    ]
    head = ("stage", "GPUs", "losses of a machine per hour", "restart s", "preset's interval s")
    return _table((*head, "lost", "best interval s", "lost at best"), rows)


def _both(bare: Found, *keys: str, scale: float = 1.0) -> tuple[str, str]:
    """Return a constant of one process, and of two at once."""
    first, second = (reduce(getitem, keys, bare[workers]) for workers in ("1", "2"))
    return f"{first / scale:.3g}", f"{second / scale:.3g}"


def _table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)
