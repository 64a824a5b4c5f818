"""Run one suite on one checkpoint and write what came out beside it.

Source: DESIGN 10; definitions in each suite's module.
Limits: one process, without Ray; at most one GPU, which was never tried.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch

from phiray.config.data import TextDataConfig
from phiray.config.load import validate
from phiray.config.stages import (
    AlignConfig,
    AnyStageConfig,
    InstructConfig,
    LitgptConfig,
    ScratchConfig,
)
from phiray.data.atomic import whole_folder
from phiray.data.prepare.text import prepare_text
from phiray.data.text_rows import heldout_documents
from phiray.errors import ConfigError, DataError, ExitCode
from phiray.evals.aggregate import aggregate_samples
from phiray.evals.caption import evaluate_captions
from phiray.evals.collect import EVALS_FOLDER
from phiray.evals.contamination import check_document_contamination
from phiray.evals.examples import (
    EvalData,
    hash_texts,
    load_caption_task,
    load_instruct_task,
)
from phiray.evals.gallery import select_ids, write_gallery
from phiray.evals.instruct import evaluate_answers
from phiray.evals.lm import (
    ScoredDocument,
    evaluate_documents,
    evaluate_unigram,
    tokenize_documents,
)
from phiray.evals.notes import (
    caption_notes,
    copies_notes,
    instruct_notes,
    lm_notes,
    skipped_notes,
    vision_note,
)
from phiray.evals.results import Sample, SuiteResult, write_result
from phiray.evals.scoring import Pixels
from phiray.evals.settings import TEXT_SETS, EvalSettings
from phiray.evals.trained_data import check_trained_data
from phiray.evals.unigram import count_tokens, unigram_nats
from phiray.models.interface import TokenModel
from phiray.models.projector import build_projector
from phiray.models.vision_language import VisionLanguageModel
from phiray.stages.restore import LoadedModel, load_model
from phiray.types import Progress
from phiray.world.clip_record import find_record

_UNTRAINED_SEED_OFFSET = 1_000_003
"""Keeps the fresh projector from being the one that training started with."""


@dataclass(frozen=True)
class _Outcome:
    """What a suite hands back."""

    samples: list[Sample]
    data: dict[str, object]
    notes: list[str]
    pictures: dict[int, Pixels]


def evaluate_checkpoint(
    suite: str,
    path: str | Path,
    *,
    settings: EvalSettings | None = None,
    root: str | None = None,
    progress: Progress | None = None,
) -> SuiteResult:
    """Score a run or checkpoint, and write `evals/SUITE/` into the folder of its run.

    Args:
        suite: `lm`, `caption` or `instruct`.
        path: a run or one checkpoint of it.
        settings: how much is scored; the default is for two CPU cores.
        root: folder or URL of the data, if it is no longer where the run found it.
        progress: told of everything that takes long.

    Raises:
        ConfigError: if there is no such suite, or it is not for this kind of model, or not for
            data at a URL.
        DataError: if held-out ids were trained on, data is missing, or the run was trained on
            other data and `root` does not ask for that.
        CheckpointError: if there is no usable checkpoint.
    """
    if suite not in SUITES:
        raise ConfigError(
            f"{suite!r} is not a suite. Expected one of {', '.join(SUITES)}. Correct its name."
        )
    loaded = load_model(path)
    if use_cuda(loaded):
        loaded.model.to("cuda")  # rows and pictures follow: `build_batch` asks where the model is
    if root is not None:
        loaded = replace(loaded, config=_with_root(loaded.config, root))
    notes = check_trained_data(loaded, is_given=root is not None, progress=progress)
    # Other data may bring another tokenizer, whose ids mean nothing to this model.
    own = {"tokenizer": str(loaded.checkpoint_path.absolute())}
    data = loaded.config.data.model_copy(update=own)
    loaded = replace(loaded, config=loaded.config.model_copy(update={"data": data}))
    folder = loaded.checkpoint_path.parent.parent / EVALS_FOLDER / suite
    return evaluate(suite, loaded, folder=folder, settings=settings, notes=notes, progress=progress)


def use_cuda(loaded: LoadedModel) -> bool:
    """Tell whether to score on a GPU: where the run used one, and there is one here."""
    return loaded.config.cluster.use_gpu and torch.cuda.is_available()


def _with_root(config: AnyStageConfig, root: str) -> AnyStageConfig:
    """Return the settings with other data, checked anew: text is at no URL."""
    tree = config.model_dump(mode="json")
    tree["data"]["root"] = root
    return validate(tree, type(config), places={("data", "root"): "--data"})


def evaluate(
    suite: str,
    loaded: LoadedModel,
    *,
    folder: Path,
    settings: EvalSettings | None = None,
    notes: Sequence[str] = (),
    progress: Progress | None = None,
) -> SuiteResult:
    """Score a loaded model; `folder` then holds `result.json`, `samples.jsonl` and pictures.

    They replace those of an evaluation before at once, so that none stands beside another's.
    `notes` stand before what the suite itself says.
    """
    settings = settings or EvalSettings()
    start = time.monotonic()
    outcome = SUITES[suite](loaded, settings, progress)
    arms = aggregate_samples(outcome.samples, seed=settings.seed)
    result = SuiteResult(
        suite=suite,
        run=loaded.config.run.name,
        arms=arms,
        data={
            **outcome.data,
            "step": loaded.state.get("step"),
            "settings": settings.model_dump(mode="json"),
            "tokenizer_sha256": loaded.tokenizer.fingerprint,
        },
        notes=[*notes, *outcome.notes],
        measured={
            "seconds": round(time.monotonic() - start, 2),
            "checkpoint": str(loaded.checkpoint_path),
            "data_root": loaded.config.data.root,
        },
    )
    with whole_folder(folder, setting=None, replace=True) as fresh:
        write_result(fresh, result, outcome.samples)
        write_gallery(fresh, outcome.pictures)
    return result


def _run_lm(loaded: LoadedModel, settings: EvalSettings, progress: Progress | None) -> _Outcome:
    config = loaded.config
    if not isinstance(config, ScratchConfig | LitgptConfig):
        raise _wrong_suite("lm", loaded, "a run of `scratch` or `litgpt`")
    samples: list[Sample] = []
    data: dict[str, object] = {}
    num_documents: dict[str, int] = {}
    present = [source for source in TEXT_SETS if _is_there(config.data, source)]
    for source in present or [config.data.source]:
        text_config = config.data.model_copy(update={"source": source})
        documents = _read_documents(text_config, loaded, settings, progress)
        num_documents[source] = len(documents)
        keys = [document.key for document in documents]
        num_trained = check_document_contamination(loaded.ledger, keys)
        samples += evaluate_documents(
            loaded.model,
            documents,
            arm=f"{config.run.name}@{source}",
            sequence_length=config.data.sequence_length,
            eos_id=loaded.tokenizer.eos_id,
            settings=settings,
            progress=progress,
        )
        counts = count_tokens(
            prepare_text(text_config, progress=progress).token_arrays(),
            vocab_size=loaded.tokenizer.vocab_size,
            eos_id=loaded.tokenizer.eos_id,
        )
        samples += evaluate_unigram(unigram_nats(counts), documents, arm=f"unigram@{source}")
        data[source] = {
            "documents": len(documents),
            "bytes": sum(document.num_bytes for document in documents),
            "tokens": sum(len(document.tokens) for document in documents),
            "trained_documents_checked": num_trained,
            "unigram_train_tokens": int(counts.sum()),
            "sequence_length": config.data.sequence_length,
            "examples_sha256": hash_texts([f"{d.key}:{d.text_sha256}" for d in documents]),
        }
    return _Outcome(samples, data, lm_notes(settings, num_documents), {})


def _is_there(config: TextDataConfig, source: str) -> bool:
    """Say whether a text set lies below the root: who has one of them is scored on that one."""
    return (Path(config.root) / source).is_dir()


def _read_documents(
    config: TextDataConfig,
    loaded: LoadedModel,
    settings: EvalSettings,
    progress: Progress | None,
) -> list[ScoredDocument]:
    heldout = islice(heldout_documents(config, progress=progress), settings.max_documents)
    documents = tokenize_documents(list(heldout), tokenizer=loaded.tokenizer, settings=settings)
    if not documents:
        raise DataError(
            f"No {config.source} document is held out below {config.root}. Expected at least one. "
            "Give more documents, or raise data.split.heldout_fraction."
        )
    return documents


def _run_caption(
    loaded: LoadedModel, settings: EvalSettings, progress: Progress | None
) -> _Outcome:
    task, data = load_caption_task(_eval_data("caption", loaded, settings, progress))
    samples = evaluate_captions(
        loaded.model,
        untrained_copy(loaded, seed=settings.seed),
        task,
        run=loaded.config.run.name,
    )
    pixels = {str(example.image_id): example.pixels for example in task.examples}
    chosen = select_ids(pixels, seed=settings.seed, size=settings.gallery_size)
    skipped = data["skipped"]
    assert isinstance(skipped, dict)
    constant = next(sample.texts["answer"] for sample in samples if sample.arm == "constant")
    return _Outcome(
        samples,
        {**data, "constant_caption": constant},
        [
            *caption_notes(task, vision=_vision_note(loaded)),
            *skipped_notes(skipped),
            *copies_notes(data["trained_images_compared"]),
        ],
        {int(name): pixels[name] for name in chosen},
    )


def _run_instruct(
    loaded: LoadedModel, settings: EvalSettings, progress: Progress | None
) -> _Outcome:
    task, data = load_instruct_task(_eval_data("instruct", loaded, settings, progress))
    samples = evaluate_answers(loaded.model, task, run=loaded.config.run.name)
    by_name = {example.conversation_id: example for example in task.examples}
    chosen = select_ids(by_name, seed=settings.seed, size=settings.gallery_size)
    pictures = {by_name[name].image_id: by_name[name].pixels for name in chosen}
    files, skipped = data["conversations_by_file"], data["skipped"]
    assert isinstance(files, dict)
    assert isinstance(skipped, dict)
    notes = instruct_notes(task, files, vision=_vision_note(loaded)) + skipped_notes(skipped)
    notes += copies_notes(data["trained_images_compared"])
    return _Outcome(samples, data, notes, pictures)


def _vision_note(loaded: LoadedModel) -> str:
    assert isinstance(loaded.model, VisionLanguageModel)
    assert isinstance(loaded.config, AlignConfig | InstructConfig)
    assert loaded.description.vision is not None
    tower = loaded.description.vision
    record = find_record(tower.weights, loaded.model.vision.state_dict())
    return vision_note(tower.model, record, split=loaded.config.data.split)


def untrained_copy(loaded: LoadedModel, *, seed: int) -> TokenModel:
    """Return the same model with a fresh projector; the other parts are shared."""
    model, description = loaded.model, loaded.description
    assert isinstance(model, VisionLanguageModel)
    assert description.projector is not None
    assert description.vision is not None
    projector = build_projector(
        description.projector,
        vision_hidden_size=description.vision.hidden_size,
        hidden_size=description.language_model.hidden_size,
        seed=seed + _UNTRAINED_SEED_OFFSET,
    )
    copy = VisionLanguageModel(
        model.language_model,
        model.vision,
        projector.to(next(model.projector.parameters()).device),
        image_token_id=model.image_token_id,
    )
    return copy.eval()


def _eval_data(
    suite: str, loaded: LoadedModel, settings: EvalSettings, progress: Progress | None
) -> EvalData:
    config, vision = loaded.config, loaded.description.vision
    if not isinstance(config, AlignConfig | InstructConfig) or vision is None:
        raise _wrong_suite(suite, loaded, "a run of `align` or `instruct`")
    return EvalData(
        config=config.data,
        tokenizer=loaded.tokenizer,
        num_patches=vision.num_patches,
        image_size=vision.image_size,
        ledger=loaded.ledger,
        settings=settings,
        trained_images=loaded.trained_images,
        progress=progress,
    )


def _wrong_suite(suite: str, loaded: LoadedModel, expected: str) -> ConfigError:
    return ConfigError(
        f"Suite {suite} was asked of {loaded.config.run.name}, a run of {loaded.config.stage}. It "
        f"scores {expected}. Name such a run, or another suite.",
        exit_code=ExitCode.USAGE,
    )


_Suite = Callable[[LoadedModel, EvalSettings, Progress | None], _Outcome]
SUITES: dict[str, _Suite] = {"lm": _run_lm, "caption": _run_caption, "instruct": _run_instruct}
