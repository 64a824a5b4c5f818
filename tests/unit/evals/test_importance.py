import pytest

from phiray.evals.importance import explained_fraction


def test_choices_that_tell_all_explain_all() -> None:
    settings = ["a", "a", "b", "b"]
    assert explained_fraction(settings, [1.0, 1.0, 3.0, 3.0], is_drawn=False) == pytest.approx(1)


def test_choices_by_hand() -> None:
    # groups a: 1, 3 and b: 3, 5; grand mean 3; between 2 * 1 + 2 * 1 = 4 of 4 + 0 + 0 + 4 = 8
    found = explained_fraction(["a", "a", "b", "b"], [1.0, 3.0, 3.0, 5.0], is_drawn=False)
    assert found == pytest.approx(0.5)


def test_numbers_count_by_rank() -> None:
    assert explained_fraction([1, 10, 1000], [3.0, 2.0, 1.0], is_drawn=True) == pytest.approx(1)
    # ranks 0 1 2 against 0 2 1: correlation 0.5
    assert explained_fraction([1, 2, 3], [0.0, 9.0, 1.0], is_drawn=True) == pytest.approx(0.25)


def test_equal_figures_are_explained_by_nothing() -> None:
    assert explained_fraction([1, 2], [1.0, 1.0], is_drawn=True) == 0
