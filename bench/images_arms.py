"""The sides of `bench/images.py`: each delivers batches of decoded images to one consumer.

    python bench/images_arms.py ARM FOLDER WARM_UP_IMAGES EPOCHS LINES

Each runs in a process of its own, which writes to the file LINES when it is idle and how long each
epoch took.
Limits: the consumer only counts; two decoding threads or processes, as this machine has cores.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from images_data import batches, jpeg_files

from phiray.images.decode import decode_image

BATCH_SIZE = 64
IMAGE_SIZE = 224
WORKERS = 2
IDLE_SECONDS = 3.0
"""As long as a side stands still before it starts, so that its memory can be looked at."""
PHIRAY = "phiray"

Epoch = Iterator[Any]
"""Batches of an epoch: (images, 3, 224, 224), uint8 or float32, as torch or numpy."""


def main(arm: str, folder: Path, warm_up: int, epochs: int, lines: Path) -> None:
    """Run one side, and write what it did, a JSON line each."""
    if arm == PHIRAY:
        run_phiray(folder, warm_up, epochs, lines)
        return
    new_epoch = ARMS[arm](folder)
    say_idle(lines)
    consume(islice(new_epoch(), -(-warm_up // BATCH_SIZE)))
    for _ in range(epochs):
        say(lines, consume(new_epoch()))


def consume(epoch: Epoch) -> dict[str, float]:
    """Take the batches of an epoch; say how many images there were, and how long they took."""
    start, first, images = time.perf_counter(), 0.0, 0
    for batch in epoch:
        images += len(batch)
        first = first or time.perf_counter() - start
    return {"images": images, "seconds": time.perf_counter() - start, "first_seconds": first}


def say(lines: Path, value: dict[str, Any]) -> None:
    """Hand a line to `bench/images.py`."""
    with lines.open("a") as file:
        file.write(json.dumps(value) + "\n")


def say_idle(lines: Path) -> None:
    """Stand still for a moment: what is above this is the price of the images."""
    say(lines, {"idle": True})
    time.sleep(IDLE_SECONDS)


def pixels_of(path: Path) -> torch.Tensor:
    """Read and decode as phiray does."""
    return torch.from_numpy(decode_image(path.read_bytes(), image_size=IMAGE_SIZE))


class Files(torch.utils.data.Dataset[torch.Tensor]):
    """A map-style data set of files."""

    def __init__(self, paths: list[Path], read: Callable[[Path], torch.Tensor]) -> None:
        """Keep both."""
        self.paths, self.read = paths, read

    def __len__(self) -> int:
        """Count the files."""
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        """Read one."""
        return self.read(self.paths[index])


def loader_epochs(data: Any, **options: Any) -> Callable[[], Epoch]:
    """Give epochs of a torch DataLoader whose workers stay."""
    loader = torch.utils.data.DataLoader(
        data, batch_size=BATCH_SIZE, num_workers=WORKERS, persistent_workers=True, **options
    )
    return lambda: iter(loader)


def dataloader(folder: Path) -> Callable[[], Epoch]:
    """Read with torch's DataLoader and phiray's decode."""
    return loader_epochs(Files(jpeg_files(folder), pixels_of), shuffle=True)


def dataloader_open_clip(folder: Path) -> Callable[[], Epoch]:
    """Read with torch's DataLoader and open_clip's transform, as scripts of its users do."""
    from open_clip.transform import image_transform
    from PIL import Image

    transform = image_transform(IMAGE_SIZE, is_train=False)

    def read(path: Path) -> torch.Tensor:
        with Image.open(path) as image:
            pixels: torch.Tensor = transform(image)
        return pixels

    return loader_epochs(Files(jpeg_files(folder), read), shuffle=True)


def threads(folder: Path) -> Callable[[], Epoch]:
    """Decode in a bare pool of threads of this process: no order kept beyond a batch, no rows."""
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(WORKERS)
    order = np.random.default_rng(0)

    def epoch() -> Epoch:
        files = jpeg_files(folder)
        shuffled = [files[index] for index in order.permutation(len(files))]
        waiting = []
        for paths in batches(shuffled, BATCH_SIZE):
            waiting.append([pool.submit(pixels_of, path) for path in paths])
            if len(waiting) > WORKERS:
                yield torch.stack([future.result() for future in waiting.pop(0)])
        for futures in waiting:
            yield torch.stack([future.result() for future in futures])

    return epoch


def webdataset(folder: Path) -> Callable[[], Epoch]:
    """Read tar files with WebDataset and phiray's decode; batches are made in its workers."""
    import webdataset

    tars = [str(path) for path in sorted((folder / "tars").iterdir())]
    decode = partial(decode_image, image_size=IMAGE_SIZE)
    data = (
        webdataset.WebDataset(tars, shardshuffle=len(tars), empty_check=False)
        .to_tuple("jpg")
        .map_tuple(decode)
        .batched(BATCH_SIZE)
        .map(lambda columns: torch.from_numpy(np.stack(columns[0])))
    )
    loader = webdataset.WebLoader(
        data, batch_size=None, num_workers=WORKERS, persistent_workers=True
    )
    return lambda: iter(loader)


def mosaicml(folder: Path) -> Callable[[], Epoch]:
    """Read MosaicML's shards with its StreamingDataset and phiray's decode."""
    from streaming import StreamingDataset

    class Decoded(StreamingDataset):
        def __getitem__(self, at: int) -> torch.Tensor:
            found = super().__getitem__(at)
            return torch.from_numpy(decode_image(found["jpg"], image_size=IMAGE_SIZE))

    return loader_epochs(Decoded(local=str(folder / "mds"), shuffle=True, batch_size=BATCH_SIZE))


ARMS: dict[str, Callable[[Path], Callable[[], Epoch]]] = {
    "DataLoader, phiray's decode": dataloader,
    "DataLoader, open_clip's transform": dataloader_open_clip,
    "bare threads": threads,
    "WebDataset": webdataset,
    "MosaicML streaming": mosaicml,
}


def run_phiray(folder: Path, warm_up: int, epochs: int, lines: Path) -> None:
    """Train on nothing: a Ray Train worker takes the steps that a run's pipeline gives it."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from phiray.data.pipeline import CPUS_PER_READER
    from phiray.runtime import ray_session

    # the worker finds this file by its name
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    settings = {"folder": folder, "lines": lines, "warm_up": warm_up, "epochs": epochs}
    resources = {"CPU": 1 + CPUS_PER_READER}
    with ray_session(num_cpus=2):
        TorchTrainer(
            phiray_worker,
            train_loop_config=settings,
            scaling_config=ScalingConfig(num_workers=1, resources_per_worker=resources),
            run_config=RunConfig(name=lines.stem, storage_path=str(lines.parent)),
        ).fit()


def phiray_worker(settings: dict[str, Any]) -> None:
    """Take the steps of a warm-up and of whole epochs, as `phiray.jobs.worker` does."""
    from phiray.config.data import ImageDataConfig, SplitConfig
    from phiray.data.image_sets import caption_rows
    from phiray.data.order import OrderSettings, rank_positions, steps_per_epoch
    from phiray.data.pipeline import stream_steps

    torch.set_num_threads(WORKERS)
    everything = SplitConfig(heldout_fraction=1e-12)
    config = ImageDataConfig(root=str(settings["folder"]), split=everything)
    source = caption_rows(config, num_patches=49, seed=0)
    order = OrderSettings(seed=0, num_rows=source.num_rows, global_batch_size=BATCH_SIZE)
    in_epoch = steps_per_epoch(order)
    # the end of an epoch warms up for whole ones
    warm_up = min(-(-settings["warm_up"] // BATCH_SIZE), in_epoch)
    positions = rank_positions(
        order,
        rank=0,
        world=1,
        accumulation=1,
        start_step=in_epoch - warm_up,
        num_steps=warm_up + settings["epochs"] * in_epoch,
    )
    say_idle(settings["lines"])
    steps = stream_steps(source, positions, pad_id=source.tokenizer.pad_id, image_size=IMAGE_SIZE)
    images = (step.micro_batches[0]["pixel_values"] for step in steps)
    consume(islice(images, warm_up))
    for _ in range(settings["epochs"]):
        say(settings["lines"], consume(islice(images, in_epoch)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
