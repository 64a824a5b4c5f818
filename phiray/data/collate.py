"""Make the micro-batches of a step from a table of rows.

Source: batch keys of Hugging Face; DESIGN 6 (a bad row keeps its place with weight 0).
Limits: rows are padded at the right to the longest one, rounded up by `padded_length`.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from phiray.batch import Batch, StepInput
from phiray.config.data import padded_length
from phiray.data.feature_view import features_from_table
from phiray.data.pixels import pixels_from_table
from phiray.data.row_packing import packed_index
from phiray.types import FILLER_ROW, IGNORE_INDEX, BadRow


def collate_step(
    table: pa.Table,
    *,
    accumulation: int,
    pad_id: int,
    image_size: int | None,
    max_packed_length: int | None = None,
    feature_shape: tuple[int, int] | None = None,
) -> StepInput:
    """Cut the rows of one step into `accumulation` equal micro-batches, in order."""
    size = table.num_rows // accumulation
    parts = [
        collate(
            table.slice(index * size, size),
            pad_id=pad_id,
            image_size=image_size,
            max_packed_length=max_packed_length,
            feature_shape=feature_shape,
        )
        for index in range(accumulation)
    ]
    return StepInput([batch for batch, _ in parts], [bad for _, found in parts for bad in found])


def collate(
    table: pa.Table,
    *,
    pad_id: int,
    image_size: int | None,
    max_packed_length: int | None = None,
    feature_shape: tuple[int, int] | None = None,
) -> tuple[Batch, list[BadRow]]:
    """Pad rows into one batch; a filler or bad row is all padding, weighs 0 and has no image.

    Args:
        table: rows whose images are decoded (`decode_table`).
        pad_id: what fills `input_ids` at the right.
        image_size: side of the images; None for text, whose batches have no `pixel_values`. With
            a size every batch has them, also with 0 images, so that each rank runs the projector.
        max_packed_length: run the rows end to end in sequences of at most so many tokens; none
            runs each by itself.
        feature_shape: (patches, vision_hidden) of rows that hold features, which then stand in the
            place of pixels.

    Returns:
        The batch, and the rows that could not be used.
    """
    row_ids = table["row_id"].to_numpy().astype(np.int64)  # (batch,)
    is_good = table["error"].is_null().to_numpy().astype(bool)  # (batch,)
    tokens, lengths = _padded(table["input_ids"], is_good, fill=pad_id)
    labels, _ = _padded(table["labels"], is_good, fill=IGNORE_INDEX)
    mask = np.arange(tokens.shape[1])[None] < lengths[:, None]  # (batch, seq)
    batch = Batch(
        input_ids=torch.from_numpy(tokens),
        attention_mask=torch.from_numpy(mask.astype(np.int64)),
        labels=torch.from_numpy(labels),
        loss_weights=torch.from_numpy((is_good & (row_ids != FILLER_ROW)).astype(np.float32)),
        row_ids=torch.from_numpy(row_ids),
    )
    if max_packed_length is not None:
        index = packed_index(lengths.tolist(), seq=tokens.shape[1], max_length=max_packed_length)
        batch["packed_index"] = torch.from_numpy(index)
    good = table.filter(pa.array(is_good))
    if feature_shape is not None:
        features = torch.from_numpy(features_from_table(good, shape=feature_shape))
        batch["image_features"] = features.view(torch.bfloat16)
    elif image_size is not None:
        batch["pixel_values"] = torch.from_numpy(pixels_from_table(good, image_size=image_size))
    return batch, _bad_rows(table)


def _padded(
    column: pa.ChunkedArray, is_good: npt.NDArray[np.bool_], *, fill: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Spread the lists of a column over (batch, seq), and give their lengths (batch,)."""
    rows = [
        scalar.values.to_numpy() if good and scalar.is_valid else np.empty(0, dtype=np.int32)
        for scalar, good in zip(column, is_good, strict=True)
    ]
    lengths = np.array([len(row) for row in rows], dtype=np.int64)  # (batch,)
    seq = padded_length(max(int(lengths.max(initial=0)), 1))
    padded = np.full((len(rows), seq), fill, dtype=np.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded, lengths


def _bad_rows(table: pa.Table) -> list[BadRow]:
    """List the rows that have an error."""
    columns = (table[name].to_pylist() for name in ("row_id", "error", "detail"))
    return [
        BadRow(row_id, reason, detail or "")
        for row_id, reason, detail in zip(*columns, strict=True)
        if reason is not None
    ]
