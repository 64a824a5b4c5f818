"""The split: fixed, even, and independent of anything but id and salt."""

import pytest

from phiray.config.data import SplitConfig
from phiray.data.split import (
    book_key,
    document_key,
    image_key,
    is_heldout,
    part_of,
    split_fraction,
)


def test_split_fraction_is_the_head_of_sha256() -> None:
    # printf 'phiray-split-1:image:391895' | sha256sum  ->  8579334ca4069b77...
    assert split_fraction("image:391895", salt="phiray-split-1") == 0x8579334CA4069B77 / 2**64


def test_share_of_heldout_ids_is_the_fraction_asked_for() -> None:
    keys = [image_key(number) for number in range(20_000)]
    share = sum(is_heldout(key, salt="s", heldout_fraction=0.1) for key in keys) / len(keys)
    assert share == pytest.approx(0.1, abs=4 * (0.1 * 0.9 / len(keys)) ** 0.5)  # 4 sigma


def test_larger_fraction_only_adds_heldout_ids() -> None:
    keys = [book_key(number) for number in range(500)]
    small = {key for key in keys if is_heldout(key, salt="s", heldout_fraction=0.1)}
    large = {key for key in keys if is_heldout(key, salt="s", heldout_fraction=0.3)}
    assert small
    assert small < large


def test_other_salt_gives_another_split() -> None:
    keys = [image_key(number) for number in range(200)]
    splits = [[is_heldout(key, salt=salt, heldout_fraction=0.5) for key in keys] for salt in "ab"]
    assert splits[0] != splits[1]


def test_document_key_is_sha256_of_the_text() -> None:
    # printf abc | sha256sum (FIPS 180-2, appendix B.1)
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert document_key("abc") == f"document:{expected}"


def test_keys_of_kinds_never_meet() -> None:
    assert len({image_key(84), book_key(84), document_key("84")}) == 3


def test_validation_is_taken_from_training_and_leaves_what_is_held_out_alone() -> None:
    keys = [image_key(number) for number in range(5000)]
    with_it = SplitConfig(heldout_fraction=0.2, validation_fraction=0.25)
    without = with_it.model_copy(update={"validation_fraction": 0.0})
    parts = {key: part_of(key, with_it) for key in keys}
    before = {key: part_of(key, without) for key in keys}
    assert {before[key] for key in keys} == {"train", "heldout"}
    moved = {(before[key], parts[key]) for key in keys if before[key] != parts[key]}
    assert moved == {("train", "validation")}
    share = sum(part == "validation" for part in parts.values()) / len(keys)
    assert share == pytest.approx(0.8 * 0.25, abs=4 * (0.2 * 0.8 / len(keys)) ** 0.5)  # 4 sigma
