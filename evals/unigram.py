"""The baseline that knows only how frequent each token is.

Limits: add-one smoothing, so that no token is impossible; fitted without EOS and padding, which
are not scored either.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def count_tokens(
    chunks: Iterable[NDArray[np.integer]], *, vocab_size: int, eos_id: int
) -> NDArray[np.int64]:
    """Count each id of the train split.

    Args:
        chunks: (tokens,) ids, without padding.
        vocab_size: ids of the tokenizer.
        eos_id: is counted 0 times, whatever its number.

    Returns:
        (vocab,) int64.
    """
    counts = np.zeros(vocab_size, dtype=np.int64)
    for chunk in chunks:
        counts += np.bincount(chunk, minlength=vocab_size)
    counts[eos_id] = 0
    return counts


def unigram_nats(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each id's surprise under add-one smoothing, in nats.

    Args:
        counts: (vocab,) int64.
    """
    smoothed = counts.astype(np.float64) + 1.0
    nats: NDArray[np.float64] = np.log(smoothed.sum()) - np.log(smoothed)
    return nats
