"""Join a stage with the cache of CLIP features: before its run, and in each of its workers.

    data = prepare_here(config, progress=display.progress, note=display.note)
    parts = with_cached_features(parts, config, features=payload["features"])

Source: DESIGN 3: stages do not know the cache, nor the cache the stages.
Limits: features are computed by the process that prepares: on its GPU where the run uses GPUs and
it has one, else on its CPU. Workers load the tower all the same, for it belongs to the checkpoint.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from phiray.config.data import ImageDataConfig
from phiray.config.stages import AnyStageConfig
from phiray.data.cache.node_cache import NodeCache
from phiray.data.feature_view import FeatureView
from phiray.data.image_rows import ImageRows
from phiray.data.rows import RowSource
from phiray.features.prepare import SETTING, Wanted, prepare_features
from phiray.stages.parts import PreparedData, StageParts
from phiray.stages.registry import stage_module
from phiray.types import Progress


def prepare_here(
    config: AnyStageConfig,
    *,
    progress: Progress | None,
    note: Callable[[str], None] | None = None,
) -> PreparedData:
    """Look at all inputs of a stage, and fill the cache of features if the settings name one.

    All in this process, without Ray.

    Args:
        config: of the stage.
        progress: told of what takes long.
        note: told what the cache will take.

    Raises:
        PhirayError: as the stage's `prepare` does.
        DataError: if features cannot be kept (73, 74, 77), or too many pictures are bad (65).
    """
    data = stage_module(config.stage).prepare(config, progress=progress)
    if not isinstance(config.data, ImageDataConfig) or data.pictures is None:
        return data
    cache = config.data.feature_folder
    if cache is None:
        return data
    on_gpu = config.cluster.use_gpu and torch.cuda.is_available()
    found = prepare_features(
        Wanted(data.pictures.folder, data.pictures.paths, config.data.max_bad_fraction),
        data.pictures.load_tower(),
        cache=cache.absolute(),
        device=torch.device("cuda" if on_gpu else "cpu"),
        progress=progress,
        note=note,
    )
    if on_gpu:
        torch.cuda.empty_cache()  # the workers may be on the same GPU
    counts = data.counts | {"images with features": found.num_pictures}
    return replace(data, features=found.file, counts=counts)


def identify_features(data: PreparedData) -> dict[str, str]:
    """Return what tells the features that a run reads from others, by the key of their setting."""
    return {} if data.features is None else {SETTING: data.features.stem}


def with_cached_features(
    parts: StageParts, config: AnyStageConfig, *, features: str | None
) -> StageParts:
    """Let a stage's rows hold features in the place of pictures.

    Args:
        parts: of the stage.
        config: its settings.
        features: the list that `prepare_stage` found or made; none leaves all as it is.
    """
    if features is None:
        return parts
    assert isinstance(config.data, ImageDataConfig)
    cache = NodeCache(config.data.node_cache, max_gb=config.data.node_cache_gb)
    view = FeatureView(Path(features), cache=cache)
    return replace(
        parts,
        source=_with_view(parts.source, view),
        validation=None if parts.validation is None else _with_view(parts.validation, view),
        feature_shape=view.shape,
    )


def _with_view(rows: RowSource, view: FeatureView) -> RowSource:
    assert isinstance(rows, ImageRows), "only they have pictures"
    return rows.with_features(view)
