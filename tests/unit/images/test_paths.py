import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phiray.errors import DataError, ExitCode
from phiray.images.paths import ImageFolder, image_id_from_name, safe_join
from phiray.storage import path_of


@pytest.mark.parametrize(
    ("name", "image_id"),
    [
        ("000000442786.jpg", 442786),
        ("coco/train2017/000000033471.jpg", 33471),
        ("COCO_val2014_000000441147.jpg", 441147),
        ("COCO_train2014_000000000009.JPG", 9),
        ("resized224_000000000139.jpg", None),
        ("kitten.jpg", None),
        ("000000442786.txt", None),
        ("train2017/", None),
    ],
)
def test_image_id_from_name_knows_the_three_forms(name: str, image_id: int | None) -> None:
    assert image_id_from_name(name) == image_id


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../x.jpg",
        "a/../../x.jpg",
        "http://h/x.jpg",
        "a\\b.jpg",
        "x\0.jpg",
        "\ud800.jpg",
        f"{'x' * 260}.jpg",
        "a/" * 2000 + "x.jpg",
        "C:x",
    ],
)
def test_safe_join_refuses_names_that_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="is not safe"):
        safe_join(tmp_path, name)


def test_safe_join_refuses_a_link_out_of_the_folder(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path)

    with pytest.raises(DataError, match="is not safe"):
        safe_join(inside, "link/secret.jpg")


@given(name=st.text())
def test_safe_join_never_leaves_the_folder(name: str) -> None:
    root = Path("/nowhere/data")
    try:
        joined = safe_join(root, name)
    except DataError:
        return
    assert joined.is_relative_to(root)
    assert ".." not in joined.parts


def test_image_folder_finds_one_image_under_all_its_names(tmp_path: Path) -> None:
    path = tmp_path / "train2017" / "000000000042.jpg"
    path.parent.mkdir()
    path.touch()

    folder = ImageFolder.scan(tmp_path)

    names = ("000000000042.jpg", "coco/val2014/000000000042.jpg", "COCO_val2014_000000000042.jpg")
    assert [folder.find(name) for name in names] == [path] * 3
    assert folder.find("000000000043.jpg") is None


def test_image_folder_lists_second_files_of_an_id_and_files_without_one(tmp_path: Path) -> None:
    names = ("b/000000000042.jpg", "a/COCO_val2014_000000000042.jpg", "kitten.png", "notes.txt")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    folder = ImageFolder.scan(tmp_path)

    assert folder.paths == {42: tmp_path / names[1]}
    assert folder.duplicates == [tmp_path / names[0]]
    assert folder.unnamed == [tmp_path / names[2]]
    assert folder.find("kitten.png") == tmp_path / names[2]


def test_image_folder_follows_links_once(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "000000000001.jpg").touch()
    (real / "loop").symlink_to(real)
    images = tmp_path / "images"
    images.mkdir()
    (images / "train2017").symlink_to(real)

    folder = ImageFolder.scan(images)

    assert folder.paths == {1: images / "train2017" / "000000000001.jpg"}
    assert not folder.duplicates


def test_image_folder_reads_no_link_to_a_file_elsewhere(tmp_path: Path) -> None:
    images, elsewhere = tmp_path / "images", tmp_path / "elsewhere"
    for path in (images / "train2017", elsewhere):
        path.mkdir(parents=True)
        (path / "000000000001.jpg").touch()
    inside = images / "000000000002.jpg"
    inside.symlink_to(images / "train2017" / "000000000001.jpg")
    (images / "000000000003.jpg").symlink_to(elsewhere / "000000000001.jpg")
    (images / "kitten.jpg").symlink_to(elsewhere / "000000000001.jpg")
    (images / "000000000001.jpg").symlink_to("/etc/passwd")
    (images / "loop.jpg").symlink_to("loop.jpg")

    folder = ImageFolder.scan(images)

    assert folder.paths == {1: images / "train2017" / "000000000001.jpg", 2: inside}
    assert set(folder.links_out) == {1, 3}
    assert folder.unnamed == [images / "loop.jpg"]
    assert folder.find("loop.jpg") is None
    assert folder.find("000000000001.jpg") == folder.paths[1]
    for name in ("000000000003.jpg", "kitten.jpg", "COCO_val2014_000000000003.jpg"):
        with pytest.raises(DataError, match="link out of the folder"):
            folder.find(name)


NAMES = st.text(max_size=12) | st.lists(
    st.sampled_from(["..", ".", "", "a", "000000000001.jpg", "out", "~", "C:", "http:", "%2e%2e"]),
    max_size=5,
).map("/".join)


@given(name=NAMES)
def test_find_of_any_name_stays_inside_or_refuses(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    root = tmp_path_factory.getbasetemp() / "find"
    if not root.exists():
        (root / "images").mkdir(parents=True)
        (root / "images" / "a").touch()
        (root / "images" / "000000000001.jpg").touch()
        (root / "images" / "out").symlink_to("/")
        (root / "secret").touch()
    folder = ImageFolder(root / "images", {1: root / "images" / "000000000001.jpg"})
    try:
        found = folder.find(name)
    except DataError:
        return
    if found is not None:
        assert isinstance(found, Path)
        assert found.resolve().is_relative_to((root / "images").resolve())


def test_image_folder_says_that_it_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist") as caught:
        ImageFolder.scan(tmp_path / "nothing")

    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_scan_passes_over_a_pipe_that_is_named_like_an_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "000000000001.jpg")
    assert ImageFolder.scan(tmp_path).paths == {}


def test_image_folder_of_a_url_finds_what_the_folder_finds(tmp_path: Path) -> None:
    names = ["val2017/000000000001.jpg", "val-2017/000000000001.jpg", "2.PNG", "notes.txt", "a.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    by_path, by_url = (ImageFolder.scan(path_of(f"{p}{tmp_path}")) for p in ("", "file://"))
    for found in ("duplicates", "unnamed"):
        wanted = [f"file://{path}" for path in getattr(by_path, found)]
        assert [str(path) for path in getattr(by_url, found)] == wanted
        assert wanted
    assert {i: str(path) for i, path in by_url.paths.items()} == {
        i: f"file://{path}" for i, path in by_path.paths.items()
    }
    assert str(by_url.find("a.jpg")) == f"file://{tmp_path}/a.jpg"
    assert by_url.find("b.jpg") is None
    with pytest.raises(DataError, match="not safe"):
        by_url.find("../a.jpg")


def test_image_folder_of_a_url_without_files_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist") as caught:
        ImageFolder.scan(path_of(f"file://{tmp_path}/nothing"))
    assert caught.value.exit_code == ExitCode.MISSING_INPUT
