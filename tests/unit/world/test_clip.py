import errno
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, nn

from phiray.config.data import ImageDataConfig
from phiray.config.model import VisionConfig
from phiray.data.image_sets import caption_rows
from phiray.errors import CheckpointError, ExitCode
from phiray.models.clip import ClipTower
from phiray.models.clip_weights import CONFIG_NAME
from phiray.world import clip
from phiray.world.build import CAPTION_FILE, IMAGE_FOLDER, build_world
from phiray.world.captions import file_name
from phiray.world.clip import normalised, train_clip
from phiray.world.clip_data import ClipData
from phiray.world.clip_record import find_record
from phiray.world.settings import WorldConfig

VISION = VisionConfig(model="custom", weights="unset", image_size=32, patch_size=16, hidden_size=32)


def settings(root: Path) -> ImageDataConfig:
    return ImageDataConfig(root=str(root), annotations=[CAPTION_FILE])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    build_world(
        root, seed=0, settings=WorldConfig(num_images=40, num_books=2, num_rows=7, image_size=32)
    )
    return root


def test_train_clip_writes_a_folder_that_the_tower_reads(world: Path, tmp_path: Path) -> None:
    returned = train_clip(settings(world), VISION, out=tmp_path, seed=0, max_steps=2)

    tower = ClipTower(VISION.model_copy(update={"weights": str(tmp_path)}))
    features = tower(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    assert features.shape == (2, 4, 32)
    assert returned.steps == 2
    assert returned.num_images < 40


def test_train_clip_tells_of_reading_and_of_each_step(world: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []

    train_clip(
        settings(world),
        VISION,
        out=tmp_path,
        seed=0,
        max_steps=2,
        progress=lambda *event: told.append(event),
    )

    assert {what for what, _, _ in told} >= {"reading captions", "reading pictures"}
    assert told[-2:] == [("training the small CLIP", step, 2) for step in (1, 2)]


def test_train_clip_records_how_it_made_the_tower(world: Path, tmp_path: Path) -> None:
    returned = train_clip(settings(world), VISION, out=tmp_path, seed=3, max_steps=2)

    tower = ClipTower(VISION.model_copy(update={"weights": str(tmp_path)}))
    record = find_record(str(tmp_path), tower.state_dict())
    assert record is not None
    assert record == returned
    assert (record.seed, record.steps) == (3, 2)
    assert record.split == settings(world).split


def test_train_clip_on_a_full_disk_exits_74_and_leaves_no_whole_folder(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(clip, "write_record", Mock(side_effect=full))
    with pytest.raises(CheckpointError, match="no space is left") as caught:
        train_clip(settings(world), VISION, out=tmp_path, seed=0, max_steps=1)
    assert caught.value.exit_code == ExitCode.IO
    assert not (tmp_path / CONFIG_NAME).exists()


def test_train_clip_learns_to_tell_pictures_apart(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[float] = []
    contrastive_loss = clip._contrastive_loss

    def listen(model: nn.Module, data: ClipData, chosen: Tensor) -> Tensor:
        loss = contrastive_loss(model, data, chosen)
        losses.append(loss.item())
        return loss

    monkeypatch.setattr(clip, "_contrastive_loss", listen)
    train_clip(settings(world), VISION, out=tmp_path, seed=0, max_steps=16)

    assert len(losses) == 16
    assert losses[-1] < losses[0] - 0.3


def test_train_clip_gives_the_same_weights_for_a_seed(world: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_clip(settings(world), VISION, out=tmp_path / name, seed=seed, max_steps=2)

    files = {name: (tmp_path / name / "open_clip_model.safetensors").read_bytes() for name in "abc"}
    assert files["a"] == files["b"]
    assert files["a"] != files["c"]


def test_train_clip_never_opens_a_heldout_image(world: Path, tmp_path: Path) -> None:
    heldout = caption_rows(settings(world), num_patches=4, seed=0, part="heldout").image_ids
    train_clip(settings(world), VISION, out=tmp_path / "a", seed=0, max_steps=2)
    for image_id in heldout:
        (world / IMAGE_FOLDER / file_name(image_id)).write_bytes(b"broken")

    train_clip(settings(world), VISION, out=tmp_path / "b", seed=0, max_steps=2)

    files = [tmp_path / name / "open_clip_model.safetensors" for name in "ab"]
    assert heldout
    assert files[0].read_bytes() == files[1].read_bytes()


def test_normalised_pixels_are_those_of_the_tower() -> None:
    white = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)

    values = normalised(white)[0, :, 0, 0]

    torch.testing.assert_close(
        values, torch.tensor([1.930336, 2.074884, 2.145897]), atol=1e-4, rtol=0
    )
