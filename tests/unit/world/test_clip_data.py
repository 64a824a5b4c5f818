from pathlib import Path

import pytest
import torch
from PIL import Image

from phiray.data.sources.coco import CaptionedImage
from phiray.errors import DataError
from phiray.text.tokenizer import Tokenizer
from phiray.world.clip_data import MAX_CONTEXT, caption_table, read_clip_data
from phiray.world.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer([" a red circle"] * 20, file, vocab_size=300)
    return Tokenizer.load(file)


def image_file(folder: Path, image_id: int, *, grey: int) -> Path:
    path = folder / f"{image_id:012d}.jpg"
    Image.new("RGB", (40, 32), (grey, grey, grey)).save(path)
    return path


def test_caption_table_ends_each_row_with_its_largest_id(tokenizer: Tokenizer) -> None:
    table = caption_table(["a red circle", "a"], tokenizer)

    assert table.shape == (2, 4)
    assert table.argmax(dim=1).tolist() == [3, 1]
    assert tokenizer.decode(table[0, :3].tolist()) == " a red circle"
    assert table[1, 2:].tolist() == [0, 0]


def test_caption_table_cuts_long_captions_before_the_end_token(tokenizer: Tokenizer) -> None:
    table = caption_table(["red " * 100], tokenizer)

    assert table.shape == (1, MAX_CONTEXT)
    assert table.argmax(dim=1).tolist() == [MAX_CONTEXT - 1]


def test_read_clip_data_leaves_out_broken_images(tmp_path: Path, tokenizer: Tokenizer) -> None:
    broken = tmp_path / "000000000002.jpg"
    broken.write_bytes(b"no image")
    examples = [
        CaptionedImage(1, image_file(tmp_path, 1, grey=10), ("a", "red")),
        CaptionedImage(2, broken, ("circle",)),
        CaptionedImage(3, image_file(tmp_path, 3, grey=200), ("a circle",)),
    ]

    data = read_clip_data(examples, tokenizer, image_size=16)

    assert data.pixels.shape == (2, 3, 16, 16)
    assert data.pixels.float().mean(dim=(1, 2, 3)).round().tolist() == [10, 200]
    assert data.first_caption.tolist() == [0, 2]
    assert data.num_captions.tolist() == [2, 1]
    torch.testing.assert_close(data.token_ids, caption_table(["a", "red", "a circle"], tokenizer))


def test_read_clip_data_tells_its_end_though_the_last_image_is_broken(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    broken = tmp_path / "000000000002.jpg"
    broken.write_bytes(b"no image")
    examples = [
        CaptionedImage(1, image_file(tmp_path, 1, grey=10), ("a",)),
        CaptionedImage(2, broken, ("b",)),
    ]
    told: list[tuple[int, int]] = []

    read_clip_data(
        examples,
        tokenizer,
        image_size=16,
        progress=lambda _what, done, total: told.append((done, total)),
    )

    assert told[-1] == (2, 2)


def test_read_clip_data_refuses_a_folder_of_broken_images(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    broken = tmp_path / "000000000002.jpg"
    broken.write_bytes(b"no image")

    with pytest.raises(DataError, match="None of 1 training images can be decoded"):
        read_clip_data([CaptionedImage(2, broken, ("a",))], tokenizer, image_size=16)
