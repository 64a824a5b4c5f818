import shutil
from pathlib import Path

import pytest

from phiray.errors import DataError, ExitCode, FetchError
from phiray.fetch import coco
from phiray.fetch.coco import fetch_coco
from tests.coco_server import ANNOTATIONS, TRAIN, TRAIN_IDS, VAL, SmallCoco, serve_coco
from tests.fetch_builders import Listener, image_name, noise, picture, workplace_at
from tests.fetch_server import Answer, FaultyServer


@pytest.fixture
def small(server: FaultyServer) -> SmallCoco:
    return serve_coco(server)


def fetch(
    folder: Path,
    server: FaultyServer,
    small: SmallCoco,
    *,
    subset: int | None = None,
    seed: int = 0,
    listener: Listener | None = None,
    verify: bool = False,
) -> int:
    with workplace_at(folder, server, listener=listener) as workplace:
        if verify:
            workplace.ledger.forget_damaged(progress=workplace.downloader.progress)
        return fetch_coco(small.source, workplace, subset=subset, seed=seed)


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".fetch" not in path.parts
    }


def test_all_of_it_arrives_and_nothing_else_stays(
    tmp_path: Path, server: FaultyServer, small: SmallCoco
) -> None:
    fetched = fetch(tmp_path, server, small)
    assert fetched == sum(len(server.files[path]) for path in (ANNOTATIONS, TRAIN, VAL))
    assert files_in(tmp_path) == small.expected
    left = sorted(path.name for path in (tmp_path / ".fetch").iterdir())
    assert left == ["files.jsonl", "lock"]


def test_a_second_run_asks_for_nothing(
    tmp_path: Path, server: FaultyServer, small: SmallCoco
) -> None:
    fetch(tmp_path, server, small)
    before = len(server.log)
    assert fetch(tmp_path, server, small) == 0
    assert fetch(tmp_path, server, small, verify=True) == 0
    assert fetch(tmp_path, server, small, subset=7) == 0
    assert len(server.log) == before


def test_single_images_that_were_lost_or_damaged_come_one_by_one(
    tmp_path: Path, server: FaultyServer, small: SmallCoco
) -> None:
    listener = Listener()
    fetch(tmp_path, server, small)
    lost = tmp_path / "images/train2017" / image_name(3)
    damaged = tmp_path / "images/val2017" / image_name(104)
    lost.unlink()
    damaged.write_bytes(noise(len(picture(104)), seed=77))  # the right size
    assert fetch(tmp_path, server, small, listener=listener) == len(picture(3))
    assert listener.notes == ["1 images of train2017.zip are fetched again"]
    assert fetch(tmp_path, server, small, verify=True) == len(picture(104))
    assert files_in(tmp_path) == small.expected
    assert fetch(tmp_path, server, small, verify=True) == 0
    assert len(server.asked(TRAIN)) == len(server.asked(VAL)) == 1


def test_an_image_that_is_another_one_at_the_source_is_refused(
    tmp_path: Path, server: FaultyServer, small: SmallCoco
) -> None:
    fetch(tmp_path, server, small)
    (tmp_path / "images/train2017" / image_name(3)).unlink()
    server.files[f"/train2017/{image_name(3)}"] = noise(len(picture(3)), seed=9)
    with pytest.raises(DataError, match="but its sha256 is"):
        fetch(tmp_path, server, small)


def test_lost_captions_bring_their_archive_again(
    tmp_path: Path, server: FaultyServer, small: SmallCoco
) -> None:
    fetch(tmp_path, server, small)
    (tmp_path / "annotations/captions_val2017.json").unlink()
    assert fetch(tmp_path, server, small) == len(server.files[ANNOTATIONS])
    assert files_in(tmp_path) == small.expected


def test_an_archive_that_arrived_is_not_fetched_again_when_unpacking_was_killed(
    tmp_path: Path, server: FaultyServer, small: SmallCoco, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for step in ("unpack", "put_in_place"):
        with monkeypatch.context() as patched:
            patched.setattr(coco, step, killed)
            with pytest.raises(KeyboardInterrupt, match=r"^$"):
                fetch(tmp_path, server, small)
        assert files_in(tmp_path) == {}
    fetch(tmp_path, server, small)
    assert files_in(tmp_path) == small.expected
    assert [len(server.asked(path)) for path in (ANNOTATIONS, TRAIN, VAL)] == [1, 1, 1]


def test_an_archive_that_cannot_be_unpacked_is_not_kept(
    tmp_path: Path, server: FaultyServer, small: SmallCoco, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise DataError("it is a bomb")

    with monkeypatch.context() as patched:
        patched.setattr(coco, "unpack", broken)
        with pytest.raises(DataError, match="it is a bomb"):
            fetch(tmp_path, server, small)
    assert list((tmp_path / ".fetch").glob("*.zip")) == []
    fetch(tmp_path, server, small)
    assert files_in(tmp_path) == small.expected


def test_a_subset_is_the_same_for_a_seed_and_needs_no_archive_of_images(
    tmp_path: Path, server: FaultyServer, small: SmallCoco
) -> None:
    fetch(tmp_path / "one", server, small, subset=10, seed=5)
    fetch(tmp_path / "two", server, small, subset=10, seed=5)
    found = files_in(tmp_path / "one")
    assert found == files_in(tmp_path / "two")
    assert sum(name.startswith("images/train2017/") for name in found) == 10
    assert found.items() < small.expected.items()
    assert server.asked(TRAIN) == server.asked(VAL) == []


def test_a_larger_subset_fetches_only_what_is_new(
    tmp_path: Path, server: FaultyServer, small: SmallCoco
) -> None:
    fetch(tmp_path, server, small, subset=10)
    before = len(server.log)
    fetch(tmp_path, server, small, subset=15)
    assert len(server.log) - before == 5
    assert fetch(tmp_path, server, small, subset=15) == 0


def test_all_after_a_subset_keeps_what_is_there(
    tmp_path: Path, server: FaultyServer, small: SmallCoco
) -> None:
    fetch(tmp_path, server, small, subset=10)
    own = tmp_path / "images/train2017/of-the-user.jpg"
    own.write_bytes(b"own")
    fetch(tmp_path, server, small)
    assert files_in(tmp_path) == {**small.expected, "images/train2017/of-the-user.jpg": b"own"}


def test_too_small_a_disk_is_seen_before_anything_is_fetched(
    tmp_path: Path, server: FaultyServer, small: SmallCoco, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100_000))
    with pytest.raises(FetchError, match=r"has 0.1 MB free. COCO 2017 needs") as caught:
        fetch(tmp_path, server, small)
    assert caught.value.exit_code == ExitCode.IO
    assert server.log == []


def test_what_has_arrived_needs_no_room_again(
    tmp_path: Path, server: FaultyServer, small: SmallCoco, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers[TRAIN] = [Answer(cut_at=len(server.files[TRAIN]) - 10)] * 4
    with pytest.raises(FetchError, match="4 times"):
        fetch(tmp_path, server, small)
    # what it unpacks to, and little more
    usage = shutil.disk_usage(tmp_path)
    room = sum(len(picture(n)) for n in TRAIN_IDS) + 10_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=room))
    fetch(tmp_path, server, small)
    assert files_in(tmp_path) == small.expected
