"""Run the frozen tower over pictures: bytes are read and decoded in threads beside it.

Source: facts/pipeline.md: decoding is 2 to 4 % of what ViT-B/32 takes on a CPU.
Limits: the tower runs in its own precision, fp32; what is kept is rounded to bf16, 0.2 % of a
feature's norm (facts/pipeline.md). The last bits depend on the kind of processor, and on which
pictures share a batch.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from phiray.data.prefetch import prefetch_in_order
from phiray.errors import DataError, ExitCode, exit_code_of
from phiray.features.shards import Broken, Computed
from phiray.images.decode import ImageError, decode_image
from phiray.images.paths import MAX_BYTES
from phiray.models.interface import FeatureTower
from phiray.storage import AnyPath

BATCH = 32
"""Pictures that the tower sees at once; on a CPU, ViT-L/14 at 336 pixels takes 1 GB for them."""
DECODE_THREADS = 4


@dataclass(frozen=True)
class Picture:
    """A picture whose bytes are known."""

    sha256: str
    path: AnyPath


Pixels = npt.NDArray[np.uint8]


def compute_features(
    tower: FeatureTower, pictures: Sequence[Picture], *, device: torch.device
) -> Iterator[Computed]:
    """Compute the features of pictures, batch by batch.

    Args:
        tower: on the device.
        pictures: each of whose bytes must be what its hash says.
        device: of the tower.

    Raises:
        DataError: if a picture has changed since it was hashed, or cannot be read any more.
    """

    def decode(picture: Picture) -> Pixels | Broken:
        try:
            return decode_image(_read(picture), image_size=tower.image_size)
        except ImageError as error:
            return Broken(error.reason, error.detail)

    decoded = prefetch_in_order(decode, iter(pictures), num_threads=DECODE_THREADS)
    batch: list[Pixels | Broken] = []
    for found in decoded:
        batch.append(found)
        if len(batch) == BATCH:
            yield _run(tower, batch, device=device)
            batch = []
    if batch:
        yield _run(tower, batch, device=device)


def _run(tower: FeatureTower, batch: list[Pixels | Broken], *, device: torch.device) -> Computed:
    rows = np.zeros((len(batch), *tower.feature_shape), dtype=np.int16)
    good = [row for row, found in enumerate(batch) if not isinstance(found, Broken)]
    if good:
        pixels = np.stack([found for found in batch if not isinstance(found, Broken)])
        features = tower(torch.from_numpy(pixels).to(device))  # (pictures, patches, vision_hidden)
        rows[good] = features.to(torch.bfloat16).cpu().view(torch.int16).numpy()
    broken = {row: found for row, found in enumerate(batch) if isinstance(found, Broken)}
    return Computed(rows, broken)


def _read(picture: Picture) -> bytes:
    try:
        with picture.path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)  # one more than allowed: the decoder refuses it
    except OSError as error:
        raise DataError(
            f"{picture.path} cannot be read any more: {error.strerror or error}. It was there when "
            "this preparation began. Put it back or remove it for good, and start again: what was "
            "computed is kept.",
            exit_code=exit_code_of(error) or ExitCode.BAD_DATA,
        ) from error
    if len(data) <= MAX_BYTES and hashlib.sha256(data).hexdigest() != picture.sha256:
        raise DataError(
            f"{picture.path} was changed while features were computed. Expected the same bytes "
            "until that is done. Start again: what was computed is kept."
        )
    return data
