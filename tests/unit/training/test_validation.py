import pytest
import torch

from phiray.errors import DataError, ExitCode, PhirayError
from phiray.training.collective import Collective
from phiray.training.step import StepSettings
from phiray.training.validation import Validation
from phiray.types import FILLER_ROW, IGNORE_INDEX
from tests.unit.training.training_builders import BAD_ROW, CPU, build_batch, build_phi

FP32 = StepSettings(max_grad_norm=1.0, precision="fp32", device=CPU)


def measure(*batches: list[int]) -> float:
    found = [build_batch(row_ids) for row_ids in batches]
    return Validation(found, settings=FP32, collective=Collective()).measure(build_phi())


def test_measure_is_the_mean_over_all_label_tokens() -> None:
    model, batch = build_phi(), build_batch([1, 2, 3])
    with torch.no_grad():
        logits = model.project(model.decode(model.embed_batch(batch)).hidden_states)
    wanted = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=IGNORE_INDEX
    )
    assert measure([1, 2, 3]) == pytest.approx(float(wanted), rel=1e-5)


def test_measure_depends_on_neither_batches_nor_rows_that_hold_nothing() -> None:
    whole = measure([1, 2, 3, 4])
    assert measure([1], [2, 3, 4]) == pytest.approx(whole, rel=1e-6)
    assert measure([1, 2, BAD_ROW], [3, FILLER_ROW, 4]) == pytest.approx(whole, rel=1e-6)


def test_no_label_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="No row of the validation part has a label"):
        measure([FILLER_ROW])


def test_loss_that_is_no_number_names_a_mend() -> None:
    model = build_phi()
    with torch.no_grad():
        model.lm_head.weight.fill_(float("inf"))
    validation = Validation([build_batch([1, 2])], settings=FP32, collective=Collective())
    with pytest.raises(PhirayError, match=r"Lower training\.learning_rate") as caught:
        validation.measure(model)
    assert caught.value.exit_code == ExitCode.BAD_DATA
