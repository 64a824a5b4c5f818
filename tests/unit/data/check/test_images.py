import io
import json
from pathlib import Path

import pytest
from PIL import Image

from phiray.config.data import ImageDataConfig, SplitConfig
from phiray.data.check.images import ImageFiles, check_images
from phiray.data.check.report import CheckReport
from phiray.data.image_sets import caption_rows
from phiray.data.split import image_key, is_heldout
from phiray.types import Progress
from tests.image_builders import (
    NUM_IMAGES,
    NUM_PATCHES,
    encoded_image,
    file_name,
    with_text_rows,
    write_image_world,
    write_json,
)

SPLIT = SplitConfig(heldout_fraction=0.4)


@pytest.fixture
def config(tmp_path: Path) -> ImageDataConfig:
    return write_image_world(tmp_path)


def check(
    config: ImageDataConfig, *, is_partial: bool = False, progress: Progress | None = None
) -> CheckReport:
    root = Path(config.root)
    report = CheckReport()
    files = ImageFiles(
        images=root / config.images,
        captions=sorted(root.glob("coco/annotations/*.json")),
        conversations=sorted(root.glob("instruct/*.json")),
        split=SPLIT,
        is_partial=is_partial,
    )
    check_images(files, report, progress=progress)
    return report


def image_path(config: ImageDataConfig, image_id: int) -> Path:
    return Path(config.root) / config.images / "train2017" / file_name(image_id)


def found(report: CheckReport) -> dict[str, int]:
    return {kind: tally.count for kind, tally in report.findings.items()}


def is_heldout_id(image_id: int) -> bool:
    return is_heldout(image_key(image_id), salt=SPLIT.salt, heldout_fraction=SPLIT.heldout_fraction)


def parts(config: ImageDataConfig) -> tuple[list[int], list[int]]:
    """Train and held-out ids."""
    settings = ImageDataConfig.model_validate({**config.model_dump(), "split": SPLIT.model_dump()})
    train = caption_rows(settings, num_patches=NUM_PATCHES, seed=0).image_ids
    return train, [i for i in range(1, NUM_IMAGES + 1) if i not in train]


def test_check_images_of_sound_data_finds_nothing(config: ImageDataConfig) -> None:
    report = check(config)

    train, heldout = parts(config)
    assert found(report) == {}
    assert report.counts == {
        "captions": 24,
        "conversations": 12,
        "images": 12,
        "train images": len(train),
        "held-out images": len(heldout),
    }


def test_check_images_counts_conversations_without_an_image(config: ImageDataConfig) -> None:
    report = check(with_text_rows(config, 4))

    assert found(report) == {}
    assert report.counts["conversations"] == 16
    assert report.counts["conversations without an image"] == 4


def test_check_images_finds_missing_and_broken_files(config: ImageDataConfig) -> None:
    image_path(config, 1).unlink()
    image_path(config, 2).write_bytes(encoded_image(2)[:200])
    image_path(config, 3).write_bytes(b"")

    assert found(check(config)) == {
        "missing image": 2,  # in the captions and in the conversations
        "broken file: truncated image": 1,
        "broken file: empty": 1,
    }


def test_check_images_finds_a_picture_on_both_sides(config: ImageDataConfig) -> None:
    train, heldout = parts(config)
    image_path(config, heldout[0]).write_bytes(image_path(config, train[0]).read_bytes())

    assert found(check(config)) == {"leak: one picture in train and held-out": 1}


def test_check_images_finds_a_leak_under_another_name_form_and_year(
    config: ImageDataConfig,
) -> None:
    train, heldout = parts(config)
    older = (
        Path(config.root) / config.images / "val2014" / f"COCO_val2014_{900 + heldout[0]:012d}.jpg"
    )
    older.parent.mkdir()
    for candidate in range(900, 960):  # an id on the other side than train[0]
        path = older.with_name(f"COCO_val2014_{candidate:012d}.jpg")
        path.write_bytes(encoded_image(candidate))
    before = check(config)
    for path in older.parent.iterdir():
        path.write_bytes(image_path(config, train[0]).read_bytes())

    report = check(config)

    num_heldout = report.counts["held-out images"] - len(heldout)
    assert found(before) == {}
    assert found(report)["leak: one picture in train and held-out"] == num_heldout > 0


def test_check_images_finds_a_leak_through_a_name_without_an_id(config: ImageDataConfig) -> None:
    train, heldout = parts(config)
    image_path(config, heldout[0]).rename(image_path(config, heldout[0]).with_name("kitten.jpg"))
    file = Path(config.root) / config.annotations[0]
    content = json.loads(file.read_text().replace(file_name(heldout[0]), "train2017/kitten.jpg"))
    write_json(file, content)
    kitten = image_path(config, train[0]).with_name("kitten.jpg")
    kitten.write_bytes(image_path(config, train[0]).read_bytes())

    assert found(check(config))["leak: one picture in train and held-out"] == 1


def test_check_images_compares_two_files_of_one_id(config: ImageDataConfig) -> None:
    folder = image_path(config, 1).parents[1] / "val2014"
    folder.mkdir()
    (folder / "COCO_val2014_000000000001.jpg").write_bytes(encoded_image(1))
    (folder / "COCO_val2014_000000000002.jpg").write_bytes(encoded_image(77))

    report = check(config)

    assert found(report) == {"one id, different files": 1}
    assert report.notes["one id, equal files"].count == 1


def test_check_images_of_a_part_misses_no_image(config: ImageDataConfig) -> None:
    image_path(config, 1).unlink()

    report = check(config, is_partial=True)

    assert found(report) == {}
    assert report.notes["missing image"].count == 2


def test_check_images_names_held_out_pictures_under_a_second_name(config: ImageDataConfig) -> None:
    """Copies of three held-out pictures under their own ids: the split keeps them held out."""
    heldout = parts(config)[1][:3]
    folder = image_path(config, 1).parents[1] / "train2014"
    folder.mkdir()
    for image_id in heldout:
        name = f"COCO_train2014_{image_id:012d}.jpg"
        (folder / name).write_bytes(image_path(config, image_id).read_bytes())

    report = check(config)

    assert found(report) == {}
    kind = "held-out picture under a second name (held out as well)"
    assert report.notes[kind].count == 3


@pytest.mark.parametrize(("quality", "scale"), [(60, 1.0), (85, 0.5)])
def test_check_images_finds_three_planted_pictures_that_were_encoded_anew(
    config: ImageDataConfig, shared_data: Path, quality: int, scale: float
) -> None:
    """Held-out photographs, planted under 2014-style names with ids of the training side."""
    photographs = sorted((shared_data / "coco" / "images" / "val2017").glob("*.jpg"))[:3]
    _, heldout = parts(config)
    planted = [i for i in range(5000, 5100) if not is_heldout_id(i)][:3]
    for image_id, copy_id, photograph in zip(heldout, planted, photographs, strict=False):
        image_path(config, image_id).write_bytes(photograph.read_bytes())
        with Image.open(photograph) as image:
            size = (int(image.width * scale), int(image.height * scale))
            path = image_path(config, 1).with_name(f"COCO_train2014_{copy_id:012d}.jpg")
            image.resize(size).save(path, quality=quality)

    report = check(config)

    assert found(report) == {"leak: near copies in train and held-out": 3}
    assert report.verdict(0.01) == [
        f"{3 / len(heldout):.2%} of the held-out images are at fault, at most 1.00% may be"
    ]


def test_check_images_notes_what_is_odd(config: ImageDataConfig) -> None:
    image = Image.open(io.BytesIO(encoded_image(1))).convert("CMYK")
    image.save(image_path(config, 1), "JPEG")
    image_path(config, 2).write_bytes(encoded_image(2, format="PNG"))

    report = check(config)

    assert found(report) == {}
    assert {kind: tally.count for kind, tally in report.notes.items()} == {
        "caption with outer white space": 24,
        "CMYK image": 1,
        "wrong extension image": 1,
    }


def test_check_images_finds_links_out_of_the_folder(config: ImageDataConfig) -> None:
    root = Path(config.root)
    outside = root / "elsewhere.jpg"
    image_path(config, 1).rename(outside)
    image_path(config, 1).symlink_to(outside)

    assert found(check(config)) == {"unsafe name": 2, "link out of the image folder": 1}


def test_check_images_reports_files_of_another_kind(config: ImageDataConfig) -> None:
    root = Path(config.root)
    llava = (root / "instruct" / "llava_instruct_150k.json").read_text()
    (root / "coco" / "annotations" / "captions_val2017.json").write_text(llava)

    report = check(config)

    assert found(report) == {"unusable file": 1}
    assert "holds LLaVA conversations" in report.findings["unusable file"].places[0]


def test_all_reading_is_told_of(config: ImageDataConfig) -> None:
    told: list[str] = []
    check(config, progress=lambda what, done, total: told.append(what))
    assert list(dict.fromkeys(told)) == [
        "reading captions_train2017.json",
        "reading llava_instruct_150k.json",
        "decoding images",
        "comparing images",
    ]
