"""The YAML of settings: YAML 1.2 scalars, and refusals that name the line."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phiray.config.yaml_text import (
    MAX_DEPTH,
    decode_yaml,
    dotted,
    format_scalar,
    parse_documents,
    parse_yaml,
)
from phiray.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E3", 1000.0),
        ("-.5", -0.5),
        ("012", 12),
        ("0x1F", 31),
        ("0o17", 15),
        ("1_000", "1_000"),
        ("on", "on"),
        ("yes", "yes"),
        ("True", True),
        ("~", None),
        ("", None),
        ("2024-01-01", "2024-01-01"),
        ("12:30", "12:30"),
        ("'1e-4'", "1e-4"),
        ("[1, a, null]", [1, "a", None]),
    ],
)
def test_parse_yaml_follows_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    found = parse_yaml(text, origin="x").value
    assert found == value
    assert type(found) is type(value)


def test_parse_yaml_reads_infinity_and_nan() -> None:
    assert parse_yaml("-.inf", origin="x").value == -math.inf
    nan = parse_yaml(".nan", origin="x").value
    assert isinstance(nan, float)
    assert math.isnan(nan)


def test_parse_yaml_knows_the_line_of_each_value() -> None:
    tree = parse_yaml("a: 1\nb:\n  c: 2\n  d:\n    - x\n    - y\n", origin="x")
    assert tree.lines[("b", "c")] == 3
    assert tree.lines[("b", "d", 1)] == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", r"x:3:1: .*the key 'a' stands here and on line 1"),
        ("a: &n 1\nb: *n\n", r"x:2:4: .*alias \*n is refused"),
        ("a: !!python/object:os.system 1\n", r"x:1:4: .*tag .*os.system is refused"),
        ("a:\n\t- 1\n", r"x:2:1: .*Indent with blanks"),
        ("a: [1, 2\n", r"x:2:1: .*expected ',' or ']'"),
        ("? [1, 2]\n: 3\n", r"x:1:3: .*a key must be plain text"),
        ("a: 1\n---\nb: 2\n", r"x:2:1: .*another document"),
        ("a: \x07\n", r"x: .*special characters are not allowed"),
        ("a: " + "9" * 5000, r"x:1:4: .*is no int"),
        ("[" * 500, rf"x:1:33: .*deeper than {MAX_DEPTH} levels"),
    ],
)
def test_parse_yaml_refuses_with_the_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_yaml(text, origin="x")


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
"""What settings may hold; the rest is refused below."""


@given(TEXT | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none())
def test_format_scalar_reads_back_as_the_same_value(value: str | float | bool | None) -> None:
    written = format_scalar(value)
    assert "\n" not in written
    found = parse_yaml(written, origin="x").value
    assert found == value
    assert type(found) is type(value)


def test_dotted_writes_a_path_as_set_takes_it() -> None:
    assert dotted(("data", "annotations", 0)) == "data.annotations.0"


def test_parse_yaml_refuses_half_a_character_and_nul() -> None:
    for text in ('a: "\\ud800"', 'a: "b\\0c"'):
        with pytest.raises(ConfigError, match=r"settings:1:4: .* is no str"):
            parse_yaml(text, origin="settings")


def test_documents_are_read_one_by_one_with_their_lines() -> None:
    first, second = parse_documents("a: 1\n---\nb: 2\n", origin="x.yaml")
    assert (first.value, second.value) == ({"a": 1}, {"b": 2})
    assert second.lines[("b",)] == 3


def test_broken_document_is_named_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"x\.yaml:3:"):
        parse_documents("a: 1\n---\nb: *c\n", origin="x.yaml")


def test_escape_that_is_no_character_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"x\.yaml"):
        parse_yaml('a: "\\UFFFFFFFF"\n', origin="x.yaml")


@pytest.mark.parametrize(
    ("content", "match"),
    [(b"a: 1\n\xff", r"x\.yaml:2: byte 5 is not UTF-8"), (b" " * 1_000_001, "larger")],
)
def test_file_of_another_kind_is_refused(content: bytes, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        decode_yaml(content, origin="x.yaml")
