import dataclasses
import subprocess
import sys

import pytest
import torch

from phiray.types import FILLER_ROW, IGNORE_INDEX, BadRow


def test_ignored_labels_are_those_of_torch() -> None:
    logits, labels = torch.zeros(2, 3), torch.tensor([0, IGNORE_INDEX])
    loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    torch.testing.assert_close(loss, torch.log(torch.tensor(3.0)))


def test_filler_is_no_position_of_a_data_set() -> None:
    assert FILLER_ROW < 0


def test_results_cannot_be_changed() -> None:
    row = BadRow(3, "broken image", "truncated")
    with pytest.raises(dataclasses.FrozenInstanceError, match="reason"):
        row.reason = "fine"  # type: ignore[misc]  # the point of the test


def test_types_load_no_torch() -> None:
    code = "import sys, phiray.types; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
