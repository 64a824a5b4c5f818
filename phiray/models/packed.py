"""Run rows that stand end to end in fewer sequences, each of them blind to the others.

    packed = PackedRows(index, batch=..., seq=...)
    packed.pack(values)      # (batch, seq, ...) -> (sequences, packed seq, ...)
    packed.unpack(values)    # and back

Source: block-diagonal causal attention with positions that restart at each row (Krell et al., arXiv
2107.02027), so that each row is computed as if it were alone.
Limits: attention gets a boolean mask of every pair of positions, as CPUs want it. On a GPU such a
mask keeps torch from its flash kernel; one for rows of different lengths (FlexAttention, varlen)
would skip what the mask hides.
"""

import torch
from torch import Tensor


class PackedRows:
    """Where the positions of a batch's rows stand in packed sequences."""

    def __init__(self, index: Tensor, *, batch: int, seq: int) -> None:
        """Take the index of `phiray.data.row_packing.packed_index`.

        Args:
            index: (sequences, packed seq) int64, row * seq + position; below 0 for padding.
            batch: rows.
            seq: positions of a row.
        """
        self._index = index
        self._batch = batch
        self._seq = seq

    @property
    def position_ids(self) -> Tensor:
        """(sequences, packed seq) int64: each position within its own row."""
        return self._index % self._seq

    def attention_mask(self) -> Tensor:
        """Let each position see its own row up to itself; padding sees padding.

        Returns:
            (sequences, 1, packed seq, packed seq) bool.
        """
        rows = self._index.div(self._seq, rounding_mode="floor")  # (sequences, packed seq)
        is_same = rows[:, :, None] == rows[:, None, :]  # (sequences, packed seq, packed seq)
        return is_same.tril().unsqueeze(1)  # (sequences, 1, packed seq, packed seq)

    def pack(self, values: Tensor) -> Tensor:
        """Move (batch, seq, ...) to (sequences, packed seq, ...); padding repeats a position."""
        return values.flatten(0, 1)[self._index.clamp(min=0)]

    def unpack(self, values: Tensor) -> Tensor:
        """Move (sequences, packed seq, ...) back to (batch, seq, ...), with 0 in padding."""
        size = self._batch * self._seq
        # padding goes to a place after the last, so that nothing need be counted on a GPU
        places = torch.where(self._index < 0, size, self._index).flatten()  # (packed positions,)
        flat = values.new_zeros(size + 1, *values.shape[2:])
        flat = flat.index_copy(0, places, values.flatten(0, 1))
        return flat[:size].view(self._batch, self._seq, *values.shape[2:])  # (batch, seq, ...)
