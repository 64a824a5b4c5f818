from pathlib import Path

import pytest

from phiray.config.stages import AnyStageConfig
from phiray.data.signed_images import SignedImages
from phiray.errors import CheckpointError, ExitCode
from phiray.images.paths import image_id_from_name
from phiray.jobs.trained_images import carried_images, keep_trained_images, sign_trained_images
from phiray.stages.parts import TRAINED_IMAGES_FILE, PreparedData
from tests.image_builders import write_images
from tests.stage_builders import align_config, instruct_config, scratch_config


def prepared(root: Path) -> PreparedData:
    images = {
        image_id_from_name(path.name) or 0: path
        for path in sorted(write_images(root, num_images=3).rglob("*.jpg"))
    }
    return PreparedData("f", "q", {}, images=images)


def test_sign_trained_images_adds_those_of_the_checkpoint_before(tmp_path: Path) -> None:
    data = prepared(tmp_path)
    before = tmp_path / "before"
    before.mkdir()
    align = align_config(tmp_path, tmp_path, clip=tmp_path, language_model=tmp_path)
    text = sign_trained_images(align, data, progress=None)
    assert text is not None
    signed = SignedImages.from_json(text)
    assert signed.ids == (1, 2, 3)
    (before / TRAINED_IMAGES_FILE).write_text(SignedImages((7,), signed.signatures[:1]).to_json())

    instruct = instruct_config(tmp_path, tmp_path, checkpoint=before)
    text = sign_trained_images(instruct, data, progress=None)

    assert text is not None
    assert SignedImages.from_json(text).ids == (1, 2, 3, 7)


def _unsigned(tmp_path: Path) -> list[AnyStageConfig]:
    align = align_config(tmp_path, tmp_path, clip=tmp_path, language_model=tmp_path)
    data = align.data.model_copy(update={"sign_images": False})
    return [scratch_config(tmp_path, tmp_path), align.model_copy(update={"data": data})]


def test_sign_trained_images_of_text_or_without_the_setting_is_nothing(tmp_path: Path) -> None:
    data = prepared(tmp_path)

    assert [sign_trained_images(c, data, progress=None) for c in _unsigned(tmp_path)] == [None] * 2


def test_kept_images_are_carried(tmp_path: Path) -> None:
    keep_trained_images(tmp_path, None)
    assert carried_images(tmp_path) == {}
    keep_trained_images(tmp_path, "{}")
    assert carried_images(tmp_path) == {TRAINED_IMAGES_FILE: "{}"}


def test_keep_trained_images_says_why_it_cannot(tmp_path: Path) -> None:
    (tmp_path / TRAINED_IMAGES_FILE).mkdir()
    with pytest.raises(CheckpointError, match="The list of trained images") as caught:
        keep_trained_images(tmp_path, "{}")
    assert caught.value.exit_code != ExitCode.FAULT
