import pytest
import torch

from phiray.config.model import ProjectorConfig
from phiray.errors import ShapeError
from phiray.models.clip import pool_patches
from tests.model_builders import (
    IMAGE_ID,
    NUM_PATCHES,
    VISION_HIDDEN,
    assert_near,
    image_batch,
    make_batch,
    moe_config,
    random_ids,
    tiny_vlm,
)


def test_splice_puts_patches_over_image_ids_in_order() -> None:
    model = tiny_vlm()
    batch = image_batch(3)
    batch["input_ids"][1] = random_ids(1, 12, seed=9)[0]  # the second row has no image
    pixels = batch["pixel_values"]
    batch["pixel_values"] = pixels[[0, 2]]
    embeds = model.embed_batch(batch)
    image_embeds = model.projector(model.vision(pixels))
    assert_near(embeds[0, 1 : 1 + NUM_PATCHES], image_embeds[0])
    assert_near(embeds[2, 1 : 1 + NUM_PATCHES], image_embeds[2])
    text = batch["input_ids"] != IMAGE_ID
    assert_near(embeds[text], model.embed(batch["input_ids"])[text])


@pytest.mark.parametrize("kind", ["linear", "mlp", "moe"])
def test_splice_puts_pooled_patches_over_fewer_ids_and_stays_causal(kind: str) -> None:
    model = tiny_vlm(ProjectorConfig.model_validate({"kind": kind}))
    features = pool_patches(torch.randn(1, 16, VISION_HIDDEN), size=2)  # 4 x 4 patches into 2 x 2
    batch = image_batch(1)
    embeds = model.embed_batch(batch, image_features=features)
    for place in range(NUM_PATCHES):
        assert_near(embeds[0, 1 + place], model.projector(features[:, place : place + 1])[0, 0])
    other = features.clone()
    other[:, -1] += 1  # the last square's
    changed = model.embed_batch(batch, image_features=other)
    before, after = (model.decode(e).hidden_states for e in (embeds, changed))
    assert_near(after[0, :NUM_PATCHES], before[0, :NUM_PATCHES])
    assert (after[0, NUM_PATCHES:] != before[0, NUM_PATCHES:]).any(dim=-1).all()


def test_features_given_before_equal_pixels() -> None:
    model = tiny_vlm()
    batch = image_batch(2)
    features = model.encode_images(batch)
    del batch["pixel_values"]
    assert_near(
        model.embed_batch(batch, image_features=features), model.embed_batch(image_batch(2))
    )


def test_counts_that_disagree_are_refused() -> None:
    batch = image_batch(2)
    batch["pixel_values"] = batch["pixel_values"][:1]
    with pytest.raises(ShapeError, match="hold 8 <image> ids, but the images give 4 patch"):
        tiny_vlm().embed_batch(batch)


def test_image_ids_without_a_picture_are_refused() -> None:
    batch = image_batch(1)
    del batch["pixel_values"]
    with pytest.raises(ShapeError, match="hold 4 <image> ids, but the images give 0 patch"):
        tiny_vlm().embed_batch(batch)


@pytest.mark.parametrize("kind", ["linear", "mlp", "moe"])
def test_text_only_batch_gives_every_trained_parameter_a_gradient(kind: str) -> None:
    model = tiny_vlm(ProjectorConfig.model_validate({"kind": kind}), moe=moe_config())
    batch = make_batch(random_ids(2, 6))
    output = model.decode(model.embed_batch(batch))
    torch.autograd.backward(model.project(output.hidden_states).sum())
    trained = [*model.language_model.named_parameters(), *model.projector.named_parameters()]
    assert [name for name, parameter in trained if parameter.grad is None] == []
    assert all(p.grad.abs().sum() == 0 for p in model.projector.parameters() if p.grad is not None)


def test_empty_pixels_are_no_pixels() -> None:
    model = tiny_vlm()
    batch = make_batch(random_ids(2, 6))
    plain = model.embed_batch(batch)
    batch["pixel_values"] = torch.zeros(0, 3, 8, 8, dtype=torch.uint8)
    torch.testing.assert_close(model.embed_batch(batch), plain, rtol=0, atol=0)


def test_tower_gets_no_gradient_and_the_projector_does() -> None:
    model = tiny_vlm()
    output = model.decode(model.embed_batch(image_batch(2)))
    torch.autograd.backward(model.project(output.hidden_states).sum())
    assert all(parameter.grad is None for parameter in model.vision.parameters())
    gradients = [parameter.grad for parameter in model.projector.parameters()]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)


def test_features_of_a_cache_stand_for_pixels() -> None:
    model = tiny_vlm()
    batch, cached = image_batch(2), image_batch(2)
    features = model.encode_images(batch)
    assert features is not None
    cached["image_features"] = features.to(torch.bfloat16)
    del cached["pixel_values"]
    wanted = model.embed_batch(batch, image_features=features.to(torch.bfloat16).float())
    torch.testing.assert_close(model.embed_batch(cached), wanted, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["linear", "mlp", "moe"])
def test_a_batch_without_features_gives_the_projector_a_gradient(kind: str) -> None:
    model = tiny_vlm(ProjectorConfig.model_validate({"kind": kind}))
    batch = make_batch(random_ids(2, 6))
    plain = model.embed_batch(batch)
    batch["image_features"] = torch.zeros(0, NUM_PATCHES, VISION_HIDDEN, dtype=torch.bfloat16)
    embeds = model.embed_batch(batch)
    torch.testing.assert_close(embeds, plain, rtol=0, atol=0)
    torch.autograd.backward(embeds.sum())
    assert all(parameter.grad is not None for parameter in model.projector.parameters())
