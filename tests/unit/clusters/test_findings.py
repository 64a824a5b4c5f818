from phiray.clusters.findings import Finding, finding, keys_of, texts_of, value_of
from phiray.config.yaml_text import parse_yaml

TREE = parse_yaml("a:\n  b: [x, 1, y]\n  c: {d: 2}\n", origin="x.yaml")


def test_place_that_is_there_has_its_own_line() -> None:
    assert finding(TREE, ("a", "c"), "wrong") == Finding(3, "a.c", "wrong")


def test_place_that_is_missing_has_the_line_of_what_it_is_missing_in() -> None:
    assert finding(TREE, ("a", "c", "e", "f"), "wrong").line == 3
    assert finding(TREE, ("z",), "wrong").line == 1


def test_values_are_found_by_path() -> None:
    assert value_of(TREE, ("a", "b", 1)) == 1
    assert value_of(TREE, ("a", "b", 9)) is None
    assert value_of(TREE, ("a", "c", "d", "e")) is None
    assert keys_of(TREE, ("a",)) == ["b", "c"]
    assert keys_of(TREE, ("a", "b")) == []
    assert texts_of(TREE, ("a", "b")) == [(("a", "b", 0), "x"), (("a", "b", 2), "y")]
