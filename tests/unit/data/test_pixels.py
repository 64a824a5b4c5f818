import numpy as np

from phiray.data.pixels import decode_table, pixels_from_table
from phiray.data.rows import FILLER, Row, bad_row, table_from_rows
from phiray.images.decode import decode_image
from tests.image_builders import IMAGE_SIZE, encoded_image


def test_decode_table_replaces_bytes_by_pixels_and_keeps_bad_rows() -> None:
    rows = [
        Row(0, [1], [1], image=encoded_image(0)),
        FILLER,
        Row(1, [1], [1], image=encoded_image(1)[:200]),
        bad_row(2, reason="missing image", detail="x"),
        Row(3, [1], [1], image=encoded_image(3)),
    ]

    table = decode_table(table_from_rows(rows), image_size=IMAGE_SIZE)

    assert table["error"].to_pylist() == [None, None, "truncated image", "missing image", None]
    assert table["image"].is_valid().to_pylist() == [True, False, False, False, True]
    assert table["row_id"].to_pylist() == [0, -1, 1, 2, 3]
    pixels = pixels_from_table(table, image_size=IMAGE_SIZE)
    expected = [decode_image(encoded_image(seed), image_size=IMAGE_SIZE) for seed in (0, 3)]
    assert np.array_equal(pixels, np.stack(expected))


def test_decode_table_keeps_its_schema() -> None:
    table = table_from_rows([Row(0, [1], [1], image=encoded_image(0))])

    assert decode_table(table, image_size=IMAGE_SIZE).schema == table.schema


def test_pixels_from_table_without_images_has_none() -> None:
    table = decode_table(table_from_rows([FILLER]), image_size=IMAGE_SIZE)

    assert pixels_from_table(table, image_size=IMAGE_SIZE).shape == (0, 3, IMAGE_SIZE, IMAGE_SIZE)


def test_pixels_from_table_reads_a_slice() -> None:
    rows = [Row(seed, [1], [1], image=encoded_image(seed)) for seed in range(3)]
    table = decode_table(table_from_rows(rows), image_size=IMAGE_SIZE)

    pixels = pixels_from_table(table.slice(1, 1), image_size=IMAGE_SIZE)

    assert np.array_equal(pixels[0], decode_image(encoded_image(1), image_size=IMAGE_SIZE))
