"""Time tokenising and reading: bare `tokenizers` and phiray's shards, memory maps and Parquet.

    python bench/text.py DATA TOKENIZER > bench/results/text.json

DATA holds gutenberg/books, TOKENIZER a tokenizer.json. Three minutes on two cores for 51 MB.
Each arm runs in a fresh process, in turn; what it imports, and the start of Ray, are timed apart.
Limits: files are in the page cache; on one machine Ray has no more cores than threads have.
"""

import argparse
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from contention import commit
from demo import machine

from phiray.data.manifest import DataManifest
from phiray.data.prepare.prepared_text import MANIFEST_FILE, PreparedText
from phiray.data.text_rows import TextRows

ROUNDS = 3
SEQUENCE_LENGTH = 2048
BLOCK_ROWS, BLOCKS = 512, 20
"""Rows that a reader is asked for at once (rows_per_block), and blocks in each round."""
PARQUET_ROWS = 32
NOTHING = 1e-9
"""Share held out: all books are tokenised."""
Numbers = dict[str, float | str]
Read = Callable[[npt.NDArray[np.int64]], object]


def main() -> None:
    """Print all times as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--books", type=int, help="so many, to try it out")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm is not None:
        json.dump(ARMS[options.arm](options.data, options.tokenizer, options.out), sys.stdout)
        return
    with tempfile.TemporaryDirectory(prefix="phiray-bench-") as folder:
        json.dump(measure(options, Path(folder)), sys.stdout, indent=1)
    sys.stdout.write("\n")


def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Run all arms in turn, then read rows of what was prepared."""
    books = sorted((options.data / "gutenberg/books").glob("*.txt"))[: options.books]
    by_size = sorted(books, key=lambda book: book.stat().st_size, reverse=True)
    whole, quarter = folder / "whole", folder / "quarter"
    for root, chosen in ((whole, books), (quarter, [*by_size[:2], *by_size[2::4]])):
        (root / "gutenberg/books").mkdir(parents=True)
        for book in chosen:
            book.read_bytes()
            (root / "gutenberg/books" / book.name).symlink_to(book.resolve())
    runs: dict[str, list[Numbers]] = {arm: [] for arm in ARMS}
    for number in range(options.rounds):
        for arm, found in runs.items():
            if arm in SELDOM and number:
                continue
            found.append(run_arm(arm, whole, options.tokenizer, folder / f"{arm}-{number}"))
    small = run_arm("threads", quarter, options.tokenizer, folder / "small")
    medians = {
        arm: statistics.median(float(one["tokens_per_second"]) for one in found)
        for arm, found in runs.items()
    }
    fastest = max(medians["encode_batch"], medians["encode_batch_fast"])
    return {
        "machine": machine(),
        "commit": commit(),
        "rounds": options.rounds,
        "books": len(books),
        "tokenise": {arm: sum_up(found) for arm, found in runs.items()},
        "of_the_faster_bare_arm": {arm: round(rate / fastest, 3) for arm, rate in medians.items()},
        "threads_of_encode_batch_fast_by_round": [
            round(float(ours["tokens_per_second"]) / float(bare["tokens_per_second"]), 3)
            for ours, bare in zip(runs["threads"], runs["encode_batch_fast"], strict=True)
        ],
        "same_tokens": len({one["sha256"] for found in runs.values() for one in found}) == 1,
        "peak_mb_above_imports": {
            "a quarter of the books, the two longest among them": small["peak_mb_above_imports"],
            "all books": sum_up(runs["threads"])["peak_mb_above_imports"],
        },
        "random_rows": read_rows(folder / "threads-0", rounds=options.rounds),
    }


def run_arm(arm: str, data: Path, tokenizer: Path, out: Path) -> Numbers:
    """Measure in a fresh process."""
    words = [sys.executable, __file__, str(data), str(tokenizer), "--arm", arm, "--out", str(out)]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        sys.exit(run.stderr)
    found: Numbers = json.loads(run.stdout.splitlines()[-1])
    sys.stderr.write(f"{arm}: {found}\n")
    return found


def bare(data: Path, tokenizer: Path, _: Path, *, function: str) -> Numbers:
    """Encode all books in one call; they were read before, and nothing is done with the tokens."""
    from phiray.config.data import SplitConfig
    from phiray.data.sources.documents import index_documents, read_document
    from phiray.text.tokenizer import Tokenizer

    index = index_documents("gutenberg", data, split=SplitConfig(heldout_fraction=NOTHING))
    texts = [read_document("gutenberg", data, ref=ref).text for ref in index.train]
    loaded = Tokenizer.load(tokenizer)
    fast = loaded._fast
    base, cpu = peak_mb(), time.process_time()
    start = time.perf_counter()
    encodings = getattr(fast, function)(texts, add_special_tokens=False)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = peak_mb() - base
    digest, num_tokens = hashlib.sha256(), 0
    for encoding in encodings:
        digest.update(np.array([*encoding.ids, loaded.eos_id], dtype="<u2").tobytes())
        num_tokens += len(encoding) + 1
    found = told(seconds, num_tokens, digest.hexdigest(), peak)
    return found | {"cpu_seconds": round(cpu, 2)}


def threads(data: Path, tokenizer: Path, out: Path) -> Numbers:
    """Do what `phiray data prepare scratch` does: hash, list, tokenise, write, hash, rename."""
    start = time.perf_counter()
    from phiray.config.load import load_config
    from phiray.stages.registry import stage_module

    config = load_config("phi-2", "scratch", overrides=settings(data, tokenizer, out))
    stage = stage_module("scratch")
    imports, base = time.perf_counter() - start, peak_mb()
    start, cpu = time.perf_counter(), time.process_time()
    counts = stage.prepare(config).counts
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = peak_mb() - base
    return told(seconds, counts["tokens"], hash_prepared(out), peak) | {
        "cpu_seconds": round(cpu, 2),
        "import_seconds": round(imports, 2),
        "share_of_real_tokens": round(
            1 - counts["padding"] / (counts["rows"] * SEQUENCE_LENGTH), 6
        ),
    }


def on_ray(data: Path, tokenizer: Path, out: Path) -> Numbers:
    """Do the same with shards made by Ray Data, as in a job of a cluster."""
    start = time.perf_counter()
    from phiray.config.load import load_config
    from phiray.config.stages import ScratchConfig
    from phiray.data.prepare.cut import ShardTask
    from phiray.data.prepare.shards import ShardWriter
    from phiray.data.prepare.threads import OnDone
    from phiray.jobs.prepare import run_on_ray
    from phiray.runtime import ray_session
    from phiray.stages.text import prepare_text_stage

    config = load_config("phi-2", "scratch", overrides=settings(data, tokenizer, out))
    assert isinstance(config, ScratchConfig)
    imports, base = time.perf_counter() - start, peak_mb()
    first: list[tuple[float, int]] = []

    def run(writer: ShardWriter, tasks: Sequence[ShardTask], on_done: OnDone) -> None:
        def note(num_documents: int) -> None:
            if not first:
                files = writer.records.glob("*.json")
                done = sum(json.loads(file.read_text())["num_tokens"] for file in files)
                first.append((time.perf_counter(), done))
            on_done(num_documents)

        run_on_ray(writer, tasks, note)

    start = time.perf_counter()
    with ray_session(num_cpus=1):
        ray_seconds = time.perf_counter() - start
        start = time.perf_counter()
        counts = prepare_text_stage(config, progress=None, run_shards=run).counts
        end = time.perf_counter()
    (first_time, first_tokens), num_tokens = first[0], counts["tokens"]
    found = told(end - start, num_tokens, hash_prepared(out), peak_mb() - base)
    return found | {
        "import_seconds": round(imports, 2),
        "ray_start_seconds": round(ray_seconds, 2),
        "seconds_to_the_first_shard": round(first_time - start, 2),
        "tokens_per_second_behind_it": round((num_tokens - first_tokens) / (end - first_time)),
    }


ARMS: dict[str, Callable[[Path, Path, Path], Numbers]] = {
    "encode_batch": lambda *places: bare(*places, function="encode_batch"),
    "encode_batch_fast": lambda *places: bare(*places, function="encode_batch_fast"),
    "threads": threads,
    "ray": on_ray,
}
"""`encode_batch_fast` leaves out the offsets, which nobody needs here."""


SELDOM = {"encode_batch", "ray"}
"""The slower ones, run in the first round alone."""


def settings(data: Path, tokenizer: Path, out: Path) -> list[str]:
    """Return the changes that make the preset read these books alone."""
    changes = {
        "root": data,
        "tokenizer": tokenizer.resolve(),
        "prepared": out,
        "sequence_length": SEQUENCE_LENGTH,
        "split.heldout_fraction": NOTHING,
    }
    return [f"data.{name}={value}" for name, value in changes.items()]


def told(seconds: float, num_tokens: int, sha256: str, peak: float) -> Numbers:
    """Return what every arm tells."""
    return {
        "seconds": round(seconds, 2),
        "tokens": num_tokens,
        "tokens_per_second": round(num_tokens / seconds),
        "peak_mb_above_imports": round(peak),
        "sha256": sha256,
    }


def hash_prepared(out: Path) -> str:
    """Hash the tokens of the one folder in `out`."""
    digest = hashlib.sha256()
    for tokens in open_prepared(out).token_arrays():
        digest.update(tokens.tobytes())
    return digest.hexdigest()


def open_prepared(out: Path) -> PreparedText:
    """Open the one folder in `out`."""
    (folder,) = out.iterdir()
    manifest = DataManifest.from_json((folder / MANIFEST_FILE).read_text())
    return PreparedText(folder, manifest)


def peak_mb() -> float:
    """Return the largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def sum_up(runs: list[Numbers]) -> dict[str, object]:
    """Give the median and range of each number; what is equal in all runs stands as it is."""
    found: dict[str, object] = {"runs": len(runs)}
    for name in runs[0]:
        values = [run[name] for run in runs]
        if len(set(values)) == 1:
            found[name] = values[0]
        else:
            numbers = [float(value) for value in values]
            found[name] = {
                "min": min(numbers),
                "median": statistics.median(numbers),
                "max": max(numbers),
            }
    return found


def read_rows(out: Path, *, rounds: int) -> dict[str, object]:
    """Read random rows of hot files in several ways, in turn; in millions of tokens a second."""
    prepared = open_prepared(out)
    rows = TextRows.from_prepared(prepared)
    full = rows.num_rows - 1  # the last one may be short
    stream = np.concatenate(list(prepared.token_arrays()))[: full * SEQUENCE_LENGTH]
    table = stream.reshape(full, SEQUENCE_LENGTH)
    one, ipc, parquet = (out.with_name(f"rows.{ending}") for ending in ("bin", "arrow", "parquet"))
    table.tofile(one)
    column = pa.FixedSizeListArray.from_arrays(pa.array(stream), SEQUENCE_LENGTH)
    arrow = pa.table({"tokens": column})
    with pa.ipc.new_file(str(ipc), arrow.schema) as writer:
        writer.write_table(arrow)
    pq.write_table(arrow, parquet, row_group_size=1, compression="none", use_dictionary=False)
    mapped = np.memmap(one, dtype=stream.dtype, mode="r").reshape(full, SEQUENCE_LENGTH)
    opened = pa.ipc.open_file(pa.memory_map(str(ipc))).read_all()["tokens"].combine_chunks()
    file = pq.ParquetFile(parquet, memory_map=True)
    arms: dict[str, tuple[Read, int]] = {
        "gathered from the shards into one array (TokenRows.gather)": (
            rows.tokens.gather,
            BLOCK_ROWS,
        ),
        "as the reader's Arrow table, with labels (TextRows.read)": (rows.read, BLOCK_ROWS),
        "one file, numpy's own indexing of a memmap": (lambda ids: mapped[ids], BLOCK_ROWS),
        "Arrow IPC, mapped, take": (lambda ids: opened.take(pa.array(ids)), BLOCK_ROWS),
        "Parquet, a row group for each row": (
            lambda ids: file.read_row_groups(ids.tolist()),
            PARQUET_ROWS,
        ),
    }
    rates: dict[str, list[float]] = {name: [] for name in arms}
    draw = np.random.default_rng(0)
    for _ in range(rounds):
        for name, (read, num_rows) in arms.items():
            for block in range(BLOCKS + 1):
                row_ids = draw.integers(0, full, num_rows)
                start = time.perf_counter()
                read(row_ids)
                seconds = time.perf_counter() - start
                if block:  # the first one opens files
                    rates[name].append(num_rows * SEQUENCE_LENGTH / seconds / 1e6)
    return {
        "shards": len(prepared.read_layout().shards),
        "rows": rows.num_rows,
        "million_tokens_per_second": {
            name: {
                "min": round(min(found), 1),
                "median": round(statistics.median(found), 1),
                "max": round(max(found), 1),
            }
            for name, found in rates.items()
        },
    }


if __name__ == "__main__":
    main()
