from pathlib import Path

from phiray.data.feature_view import Fault, Place
from phiray.features.known_files import KnownFiles
from phiray.features.listing import hash_pictures, list_features
from phiray.features.shards import Broken, Record
from phiray.storage import AnyPath

SHAPE = (4, 32)
FOLDER = Path("/data/images")


def record(*pictures: str, broken: dict[int, Broken] | None = None) -> Record:
    return Record(pictures, broken or {}, sha256="0" * 64, num_bytes=1)


def test_pictures_have_a_hash_or_a_reason(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "folder").mkdir()
    paths: list[AnyPath] = [tmp_path / "a", tmp_path / "gone", tmp_path / "folder"]
    told: list[tuple[str, int, int]] = []
    known = KnownFiles(tmp_path / "known")
    found = hash_pictures(paths, known=known, progress=lambda *step: told.append(step))
    assert list(found) == paths
    assert isinstance(found[paths[0]], str)
    assert found[paths[1]] == Fault("missing image", "No such file or directory", is_file=True)
    assert found[paths[2]] == Fault("unreadable image", "Is a directory", is_file=True)
    assert told[-1] == ("hash pictures", 3, 3)


def test_each_picture_has_its_place_and_equal_ones_share_it() -> None:
    gone = Fault("missing image", "gone", is_file=True)
    hashes: dict[AnyPath, str | Fault] = {
        FOLDER / "x" / "1.jpg": "h1",
        FOLDER / "2.jpg": "h3",
        FOLDER / "3.jpg": "h1",
        FOLDER / "4.jpg": gone,
        FOLDER / "5.jpg": "h2",
    }
    records = [record("other"), record("h1", "h2", broken={1: Broken("empty", "0 bytes")})]
    listed = list_features(hashes, [*records, record("h3")], folder=FOLDER, shape=SHAPE)
    assert listed.pictures == {
        "x/1.jpg": Place(0, 0),
        "2.jpg": Place(1, 0),
        "3.jpg": Place(0, 0),
        "4.jpg": gone,
        "5.jpg": Fault("empty", "0 bytes", is_file=False),
    }
    assert [shard.num_rows for shard in listed.shards] == [2, 1]  # that of `other` is not needed


def test_a_list_stays_the_same_as_the_cache_grows_and_the_folder_moves() -> None:
    one = list_features({FOLDER / "1": "h1"}, [record("h1")], folder=FOLDER, shape=SHAPE)
    other = Path("/elsewhere")
    again = list_features(
        {other / "1": "h1"}, [record("h0"), record("h1")], folder=other, shape=SHAPE
    )
    assert one.digest == again.digest
