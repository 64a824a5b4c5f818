"""What the two text stages share: packed rows, a model with random weights, a ledger of documents.

Source: DESIGN 6 (packed rows; a ledger of seen ids travels with the checkpoints).
Limits: the stages differ in their data and in whose model it is; loss and loop are the same.
"""

from phiray.config.data import TextDataConfig
from phiray.config.model import ModelDescription, PhiConfig, rounded_vocab_size
from phiray.config.stages import LitgptConfig, ScratchConfig
from phiray.config.training import StandardMethod
from phiray.data.cache.node_cache import NodeCache
from phiray.data.mixture import mixture_of_files
from phiray.data.prepare.prepared_text import PreparedText
from phiray.data.prepare.text import prepare_text
from phiray.data.prepare.threads import RunShards, run_in_threads
from phiray.data.rows import join_fingerprints
from phiray.data.sources.annotations import Excluded
from phiray.data.text_rows import TextRows
from phiray.errors import ConfigError
from phiray.models.build import LanguageModelKind, build_language_model
from phiray.models.freezing import freeze_for_stage
from phiray.stages.parts import Ledger, PreparedData, StageParts, read_tokenizer
from phiray.text.tokenizer import Tokenizer
from phiray.training.objective import Objective
from phiray.types import Progress


def prepare_text_stage(
    config: ScratchConfig | LitgptConfig,
    *,
    progress: Progress | None,
    run_shards: RunShards = run_in_threads,
) -> PreparedData:
    """Check the vocabulary, then tokenise and pack; a second call finds it done."""
    check_vocabulary(read_tokenizer(config.data.root, config.data.tokenizer), config.model)
    prepared = prepare_text(config.data, progress=progress, run_shards=run_shards)
    fingerprints = [prepared.manifest.fingerprint]
    if config.data.split.validation_fraction > 0:
        validation = prepare_text(
            config.data, part="validation", progress=progress, run_shards=run_shards
        )
        fingerprints.append(validation.manifest.fingerprint)
    excluded = tuple(
        Excluded(bad.reason, f"{bad.where}: {bad.detail}") for bad in prepared.bad_documents()
    )
    fingerprint = join_fingerprints(fingerprints)
    return PreparedData(
        fingerprint,
        fingerprint,
        dict(prepared.manifest.counts),
        excluded,
        mixture_of_files(prepared.row_ranges(), config.data.weights),
    )


def build_text_stage(
    config: ScratchConfig | LitgptConfig, *, kind: LanguageModelKind
) -> StageParts:
    """Build packed rows and a model with random weights, all of it trainable."""
    cache = NodeCache(config.data.node_cache, max_gb=config.data.node_cache_gb)
    prepared = prepare_text(config.data, hash_tokens=cache.folder is None)
    model = build_language_model(config.model, kind=kind, seed=config.run.seed)
    freeze_for_stage(model, config.stage)
    return StageParts(
        source=TextRows.from_prepared(prepared, cache=cache, weights=config.data.weights),
        validation=_validation_rows(config.data, cache),
        objective=Objective(
            model,
            moe=config.model.moe,
            method=StandardMethod(),
            max_steps=config.training.max_steps,
            seed=config.run.seed,
        ),
        model=model,
        description=ModelDescription(kind=kind, language_model=config.model),
        tokenizer=read_tokenizer(config.data.root, config.data.tokenizer),
        image_size=None,
        ledger=text_ledger(prepared),
    )


def _validation_rows(data: TextDataConfig, cache: NodeCache) -> TextRows | None:
    if data.split.validation_fraction == 0:
        return None
    prepared = prepare_text(data, part="validation", hash_tokens=cache.folder is None)
    return TextRows.from_prepared(prepared, cache=cache)


def check_vocabulary(tokenizer: Tokenizer, model: PhiConfig) -> None:
    """Check that the model to be trained has a row for every id, `<image>` and padding included.

    Raises:
        ConfigError: with both numbers.
    """
    if tokenizer.vocab_size > model.vocab_size:
        raise ConfigError(
            f"model.vocab_size is {model.vocab_size}, but the tokenizer needs "
            f"{tokenizer.vocab_size} ids (with `<image>` and padding). "
            f"Raise it, e.g. --set model.vocab_size={rounded_vocab_size(tokenizer.vocab_size)}."
        )


def text_ledger(prepared: PreparedText) -> Ledger:
    """Return the ids of the documents that prepared rows were made of."""
    ledger: Ledger = {}
    for key in prepared.document_keys():
        kind, _, name = key.partition(":")
        ledger.setdefault(kind, []).append(int(name) if kind == "book" else name)
    return ledger
