from pathlib import Path

import pytest
import torch
from torch.nn import functional

from phiray.features import identity
from phiray.features.identity import hash_pixels, hash_weights, identify, key_of
from phiray.images import decode, transform
from phiray.models import clip
from phiray.models.clip import ClipTower
from tests.feature_builders import build_tower


def test_the_same_tower_has_the_same_key_wherever_it_lies(tmp_path: Path) -> None:
    one, other = build_tower(tmp_path / "a"), build_tower(tmp_path / "b")
    assert key_of(identify(one)) == key_of(identify(other))


def test_a_tower_of_a_checkpoint_has_the_key_of_the_file_it_came_from(tower: ClipTower) -> None:
    again = ClipTower.from_state(tower.config, tower.model_cfg, tower.state_dict())
    assert key_of(identify(again)) == key_of(identify(tower))


def test_other_weights_have_another_key(tmp_path: Path, tower: ClipTower) -> None:
    assert key_of(identify(build_tower(tmp_path, seed=2))) != key_of(identify(tower))


def test_one_bit_of_one_weight_is_another_hash(tower: ClipTower) -> None:
    weights = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    before = hash_weights(weights)
    name, tensor = next(iter(weights.items()))
    tensor.view(-1)[0] = torch.nextafter(tensor.view(-1)[0], torch.tensor(9.0))
    assert hash_weights(weights) != before
    weights[f"{name}.renamed"] = weights.pop(name)
    assert hash_weights(weights) != before


def test_other_pooling_has_another_key(tmp_path: Path, tower: ClipTower) -> None:
    assert key_of(identify(build_tower(tmp_path, pooling=2))) != key_of(identify(tower))


def test_another_layer_has_another_key(tower: ClipTower, monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of(identify(tower))
    monkeypatch.setattr(clip, "FEATURE_LAYER", -1)
    assert key_of(identify(tower)) != before


@pytest.mark.parametrize("image_size", [32, 224])
def test_another_size_or_transform_makes_other_pixels(
    image_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hash_pixels(image_size)
    assert hash_pixels(image_size) == before
    assert hash_pixels(image_size + 8) != before
    monkeypatch.setattr(decode, "resize_and_crop", _without_antialias)
    assert hash_pixels(image_size) != before
    monkeypatch.setattr(decode, "resize_and_crop", _rounded_up_crop)
    assert hash_pixels(image_size) != before
    monkeypatch.setattr(decode, "resize_and_crop", transform.resize_and_crop)
    assert hash_pixels(image_size) == before


def test_another_jpeg_decoder_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    before = hash_pixels(32)
    original = decode._decode_jpeg
    monkeypatch.setattr(decode, "_decode_jpeg", lambda data: original(data) ^ 1)
    assert hash_pixels(32) != before


def test_another_format_has_another_key(tower: ClipTower, monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of(identify(tower))
    monkeypatch.setattr(identity, "FORMAT", identity.FORMAT + 1)
    assert key_of(identify(tower)) != before


def _without_antialias(pixels: torch.Tensor, *, image_size: int) -> torch.Tensor:
    height, width = transform.resized_shape(*pixels.shape[1:], image_size=image_size)
    resized = functional.interpolate(pixels[None], size=(height, width), mode="bicubic")[0]
    top, left = (height - image_size) // 2, (width - image_size) // 2
    return resized[:, top : top + image_size, left : left + image_size].contiguous()


def _rounded_up_crop(pixels: torch.Tensor, *, image_size: int) -> torch.Tensor:
    """Crop as torchvision does, a pixel away where the margin is odd."""
    height, width = transform.resized_shape(*pixels.shape[1:], image_size=image_size)
    resized = functional.interpolate(
        pixels[None], size=(height, width), mode="bicubic", antialias=True
    )[0]
    top, left = -(-(height - image_size) // 2), -(-(width - image_size) // 2)
    return resized[:, top : top + image_size, left : left + image_size].contiguous()
