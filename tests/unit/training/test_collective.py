import pytest
import torch

from phiray.errors import DataError, PhirayError
from phiray.training.collective import (
    Collective,
    current_collective,
    raise_together,
    run_on_first,
    sum_numbers,
)
from tests.unit.training.four_processes import Report


@pytest.mark.slow
def test_collective_speaks_with_all_workers(four_reports: list[Report]) -> None:
    for report in four_reports:
        assert report["collective"] == {
            "sum": 6.0,
            "gather": [0, 1, 2, 3],
            "broadcast": 0,
            "first": "rank 0",
            "first fails": "1: rank 0 failed",
            "some fail": report["collective"]["some fail"],  # type: ignore[index]  # JSON
        }
    messages = [report["collective"]["some fail"] for report in four_reports]  # type: ignore[index]
    assert messages == [f"1: rank {rank} failed" for rank in (1, 1, 1, 3)]


def test_current_collective_without_a_process_group_is_one_worker() -> None:
    assert current_collective() == Collective(rank=0, world_size=1)


def test_one_worker_talks_to_itself() -> None:
    alone = Collective()
    assert alone.gather("a") == ["a"]
    assert alone.broadcast("a") == "a"
    assert float(alone.sum_(torch.tensor(2.0))) == 2.0
    assert sum_numbers(alone, [1.0, 2.0], device=torch.device("cpu")) == [1.0, 2.0]


def test_one_worker_raises_its_own_error() -> None:
    error = DataError("mine")

    def fail() -> None:
        raise error

    with pytest.raises(DataError, match="mine"):
        run_on_first(Collective(), fail)
    with pytest.raises(PhirayError, match="mine"):
        raise_together(Collective(), error)
