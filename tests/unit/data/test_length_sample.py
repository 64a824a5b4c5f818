import pytest

from phiray.data.length_sample import SAMPLE_SIZE, check_lengths
from phiray.errors import DataError, ExitCode


def test_rows_that_fit_pass_and_are_told_of() -> None:
    told: list[tuple[str, int, int]] = []
    check_lengths(
        lambda row_id: row_id,
        num_rows=250,
        max_length=249,
        max_bad_fraction=0.0,
        progress=lambda *now: told.append(now),
    )
    assert told == [("measure rows", done, 250) for done in (100, 200, 250)]


def test_of_a_few_rows_no_more_may_be_too_long_than_the_run_allows() -> None:
    def check(max_bad_fraction: float) -> None:
        check_lengths(
            lambda row_id: 10 + row_id,
            num_rows=20,
            max_length=27,
            max_bad_fraction=max_bad_fraction,
        )

    check(0.1)
    match = (
        r"data\.max_length is 27, but 2 of 20 rows .* \(10%\) .*max_bad_fraction=0\.09.*"
        r"--set data\.max_length=29 holds all"
    )
    with pytest.raises(DataError, match=match) as caught:
        check(0.09)
    assert caught.value.exit_code == ExitCode.BAD_DATA


def test_of_many_rows_only_a_sample_is_looked_at() -> None:
    seen: set[int] = set()

    def measure(row_id: int) -> int:
        seen.add(row_id)
        return 9 if row_id % 50 == 0 else 3

    def check(max_bad_fraction: float) -> None:
        check_lengths(
            measure,
            num_rows=10 * SAMPLE_SIZE,
            max_length=8,
            max_bad_fraction=max_bad_fraction,
        )

    check(0.02)  # a share at the limit passes, whatever the sample holds of it
    assert len(seen) == SAMPLE_SIZE
    with pytest.raises(DataError, match=f"of {SAMPLE_SIZE} rows"):
        check(0.0)
    assert len(seen) == SAMPLE_SIZE
