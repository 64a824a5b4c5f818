from pathlib import Path

import pytest

from phiray.errors import ConfigError, DataError, ExitCode, FetchError
from phiray.fetch.images import choose_images, fetch_images
from phiray.fetch.ledger import Entry
from phiray.fetch.sources import RemoteFile
from tests.fetch_builders import Listener, captions_of, image_name, picture, workplace_at
from tests.fetch_server import IMPATIENT, Answer, FaultyServer


def captions_in(folder: Path, body: bytes) -> Path:
    path = folder / "captions.json"
    path.write_bytes(body)
    return path


def serve_images(server: FaultyServer, image_ids: range) -> list[RemoteFile]:
    files = []
    for number in image_ids:
        server.files[f"/train/{image_name(number)}"] = picture(number)
        url = f"{server.url}train/{image_name(number)}"
        files.append(RemoteFile(url, f"images/train/{image_name(number)}", max_bytes=10_000))
    return files


def test_choice_is_that_of_its_seed_and_grows_with_n(tmp_path: Path) -> None:
    path = captions_in(tmp_path, captions_of(list(range(1, 1001))))
    chosen = choose_images(path, num_images=100, seed=0)
    assert chosen == choose_images(path, num_images=100, seed=0)
    assert len(set(chosen)) == 100
    assert set(chosen) < set(choose_images(path, num_images=200, seed=0))
    assert len(set(chosen) & set(choose_images(path, num_images=100, seed=1))) < 30


def test_choice_is_this_one_for_ever(tmp_path: Path) -> None:
    """sha256 of "0:ID", the smallest first: worked out with coreutils.

    for n in $(seq 1 20); do echo "$(printf 0:$n | sha256sum) $n"; done | sort | head -3
    """
    path = captions_in(tmp_path, captions_of(list(range(1, 21))))
    assert choose_images(path, num_images=3, seed=0) == [image_name(n) for n in (15, 18, 20)]


def test_choice_does_not_depend_on_the_order_or_on_images_without_captions(tmp_path: Path) -> None:
    path = captions_in(tmp_path, captions_of(list(range(1, 101))))
    chosen = choose_images(path, num_images=10, seed=3)
    path.write_bytes(captions_of(list(range(100, 0, -1))))
    assert choose_images(path, num_images=10, seed=3) == chosen
    without = int(chosen[0].partition(".")[0])
    path.write_bytes(captions_of(list(range(1, 101)), without=(without,)))
    assert chosen[0] not in choose_images(path, num_images=99, seed=3)


def test_choice_of_more_than_there_are_is_refused(tmp_path: Path) -> None:
    path = captions_in(tmp_path, captions_of([1, 2, 3]))
    with pytest.raises(ConfigError, match="--subset is 4, but only 3 images") as caught:
        choose_images(path, num_images=4, seed=0)
    assert caught.value.exit_code == ExitCode.USAGE


def test_choice_passes_over_names_that_are_no_coco_images(tmp_path: Path) -> None:
    body = captions_of([1, 2]).replace(image_name(2).encode(), b"../../evil.jpg")
    assert choose_images(captions_in(tmp_path, body), num_images=1, seed=0) == [image_name(1)]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"images": []}', b"[" * 100_000])
def test_choice_from_another_file_is_refused(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(DataError, match="is no COCO caption file"):
        choose_images(captions_in(tmp_path, body), num_images=1, seed=0)


def test_images_arrive_in_parallel_and_are_noted(tmp_path: Path, server: FaultyServer) -> None:
    files = serve_images(server, range(200))
    listener = Listener()
    with workplace_at(tmp_path, server, listener=listener) as workplace:
        fetched = fetch_images(files, workplace)
        assert all(workplace.ledger.is_there(file.path) for file in files)
    assert fetched == sum(len(body) for body in server.files.values())
    assert listener.shown[-1] == ("fetch images", 200, 200)
    for number in range(200):
        found = (tmp_path / f"images/train/{image_name(number)}").read_bytes()
        assert found == server.files[f"/train/{image_name(number)}"]
    assert len(server.log) == 200


def test_images_survive_a_bad_server(tmp_path: Path, server: FaultyServer) -> None:
    files = serve_images(server, range(30))
    faults = [
        Answer(cut_at=500),
        Answer(503),
        Answer(429),
        Answer(stall_at=10),
        Answer(declared=99),
    ]
    for number in range(30):
        server.answers[f"/train/{image_name(number)}"] = [faults[number % 4]]
    with workplace_at(tmp_path, server, patience=IMPATIENT) as workplace:
        fetch_images(files, workplace)
    for number in range(30):
        found = (tmp_path / f"images/train/{image_name(number)}").read_bytes()
        assert found == server.files[f"/train/{image_name(number)}"]


def test_images_that_are_gone_are_named_when_all_others_are_there(
    tmp_path: Path, server: FaultyServer
) -> None:
    files = serve_images(server, range(20))
    del server.files[f"/train/{image_name(7)}"]
    with workplace_at(tmp_path, server) as workplace:
        with pytest.raises(FetchError, match="1 of 20 images are not on the server") as caught:
            fetch_images(files, workplace)
        assert sum(workplace.ledger.is_there(file.path) for file in files) == 19
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


@pytest.mark.parametrize("page", [b"<html>please log in</html>", b"", b'{"error": 1}'])
def test_a_page_in_place_of_an_image_is_refused_and_not_kept(
    tmp_path: Path, server: FaultyServer, page: bytes
) -> None:
    files = serve_images(server, range(3))
    server.answers[f"/train/{image_name(1)}"] = [Answer(body=page)]
    with (
        workplace_at(tmp_path, server) as workplace,
        pytest.raises(DataError, match="is no image: it begins with"),
    ):
        fetch_images(files, workplace)
    assert not (tmp_path / files[1].path).exists()
    with workplace_at(tmp_path, server) as workplace:
        fetch_images(
            [file for file in files if not workplace.ledger.is_there(file.path)], workplace
        )
    assert (tmp_path / files[1].path).read_bytes() == picture(1)


def test_what_arrived_before_an_error_is_noted(tmp_path: Path, server: FaultyServer) -> None:
    files = serve_images(server, range(20))
    last = f"/train/{image_name(19)}"
    server.answers[last] = [Answer(403)]
    with workplace_at(tmp_path, server) as workplace, pytest.raises(FetchError, match="403"):
        fetch_images(files, workplace)
    with workplace_at(tmp_path, server) as workplace:
        missing = [file for file in files if not workplace.ledger.is_there(file.path)]
        assert 1 <= len(missing) < 20
        fetch_images(missing, workplace)
        assert all(workplace.ledger.is_there(file.path) for file in files)


def test_an_image_stays_a_member_of_its_archive(tmp_path: Path, server: FaultyServer) -> None:
    files = serve_images(server, range(1))
    with workplace_at(tmp_path, server) as workplace:
        workplace.ledger.add([Entry(files[0].path, 1, "0", "https://a.b/x.zip", archive="x.zip")])
        fetch_images(files, workplace)
        assert [entry.num_bytes for entry in workplace.ledger.members("x.zip")] == [len(picture(0))]
