"""What `align` and `instruct` look at alike before Ray starts: pictures and lengths of the rows.

Limits: samples, so that a large data set is judged in seconds; the run itself counts on.
"""

from collections.abc import Callable

from phiray.config.data import ImageDataConfig
from phiray.data.image_rows import ImageRows
from phiray.data.length_sample import check_lengths
from phiray.data.picture_sample import check_pictures
from phiray.data.rows import join_fingerprints
from phiray.data.sources.coco import CaptionedImage
from phiray.data.sources.conversations import Conversation
from phiray.models.interface import FeatureTower
from phiray.stages.parts import Ledger, Pictures, PreparedData
from phiray.storage import join, path_of
from phiray.types import Progress

AnyImageRows = ImageRows[CaptionedImage] | ImageRows[Conversation]


def prepare_image_rows(
    rows: AnyImageRows,
    config: ImageDataConfig,
    *,
    validation: AnyImageRows | None,
    load_tower: Callable[[], FeatureTower],
    progress: Progress | None,
) -> PreparedData:
    """Refuse rows of which too many could not be used, and say what the rows are.

    Args:
        rows: those that are trained on.
        config: of the data.
        validation: those that the run measures itself on; none if it does not.
        load_tower: reads the tower that sees the pictures.
        progress: told of what takes long.

    Raises:
        DataError: if too many pictures are bad or too many rows too long.
    """
    for part in (rows, validation):
        if part is not None:
            _check_sample(part, config, progress=progress)
    parts = [part for part in (rows, validation) if part is not None]
    return PreparedData(
        join_fingerprints(part.fingerprint for part in parts),
        join_fingerprints(part.quick_fingerprint for part in parts),
        rows.counts,
        tuple(rows.excluded),
        mixture=rows.mixture,
        images={
            example.image_id: example.path
            for example in rows.examples
            if example.image_id is not None and example.path is not None
        },
        pictures=Pictures(
            folder=join(path_of(config.root), config.images),
            paths=tuple(
                dict.fromkeys(
                    example.path
                    for part in parts
                    for example in part.examples
                    if example.path is not None
                )
            ),
            load_tower=load_tower,
        ),
    )


def image_ledger(rows: AnyImageRows) -> Ledger:
    """Return the ids that rows are learnt from: images, and texts without one by their hash."""
    ledger: Ledger = {"image": list(rows.image_ids)}
    return ledger | ({"document": list(rows.text_ids)} if rows.text_ids else {})


def _check_sample(
    rows: AnyImageRows, config: ImageDataConfig, *, progress: Progress | None
) -> None:
    paths = list(dict.fromkeys(e.path for e in rows.examples if e.path is not None))
    check_pictures(paths, max_bad_fraction=config.max_bad_fraction)
    check_lengths(
        rows.needed_length,
        num_rows=rows.num_rows,
        max_length=config.max_length,
        max_bad_fraction=config.max_bad_fraction,
        progress=progress,
    )
