"""Sentences from pydantic's findings."""

import pytest
from pydantic import JsonValue, ValidationError

from phiray.config.messages import explain_errors, suggest
from phiray.config.stages import AlignConfig


def explain(tree: dict[str, JsonValue]) -> str:
    with pytest.raises(ValidationError, match=r"validation error") as caught:
        AlignConfig.model_validate(tree)
    return explain_errors(caught.value, root=AlignConfig, places={})


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (
            {"training": {"learning_rat": 1.0}},
            "training.learning_rat is not a setting. Did you mean training.learning_rate?",
        ),
        ({"lr": 1.0}, "lr is not a setting. Did you mean training.learning_rate?"),
        ({"workers": 2}, "workers is not a setting. Did you mean cluster.workers?"),
        (
            {"projector": {"zzz": 2}},
            "projector.zzz is not a setting. projector knows: kind, num_layers, "
            "intermediate_size, num_experts, num_experts_per_token, num_residual_layers. "
            "Remove it.",
        ),
        (
            {"training": {"learning_rate": -0.1}},
            "training.learning_rate is -0.1. It must be a number above 0 and at most 1. Change "
            "it, e.g. --set training.learning_rate=0.001.",
        ),
        (
            {"training": {"max_steps": "ten"}},
            'training.max_steps is "ten". It must be a whole number of at least 1. Change it, '
            "e.g. --set training.max_steps=100.",
        ),
        (
            {"training": {"max_steps": True}},
            "training.max_steps is true. It must be a whole number of at least 1. Change it, "
            "e.g. --set training.max_steps=100.",
        ),
        (
            {"training": {"learning_rate": float("nan")}},
            "training.learning_rate is NaN. It must be a number above 0 and at most 1 that is "
            "finite. Change it, e.g. --set training.learning_rate=0.001.",
        ),
        (
            {"training": {"precision": "bf61"}},
            'training.precision is "bf61". It must be fp32 or bf16. Did you mean bf16?',
        ),
        (
            {"method": {"kind": "scheduled"}},
            'method.kind is "scheduled". It must be one of standard, scheduled-sampling, '
            "autoregressive. Did you mean scheduled-sampling?",
        ),
        (
            {"method": {"end": 0.5}},
            "method.kind is missing. It must be one of standard, scheduled-sampling, "
            "autoregressive. Set it: --set method.kind=...",
        ),
        (
            {"method": "standard"},
            'method is "standard". It must be a group of settings with kind: standard, '
            "scheduled-sampling or autoregressive. Change it.",
        ),
        (
            {"data": None},
            "data is empty. It must be a group of settings (an indented block). Change it.",
        ),
        (
            {"run": {"name": "a/b"}},
            "run.name: 'a/b' is no name for a folder. It must be 1 to 100 letters, digits, '.', "
            "'_' and '-', with a letter or digit first. Choose another.",
        ),
        ({"run": {}}, "run.name is missing. It must be text. Set it with --set run.name=VALUE."),
        (
            {"projector": {"num_experts_per_token": 5, "num_experts": 4}},
            "projector: num_experts_per_token is 5, but num_experts is 4. It must be between 1 "
            "and 4. Lower it.",
        ),
    ],
)
def test_explain_errors_gives_value_expectation_and_mend(
    tree: dict[str, JsonValue], message: str
) -> None:
    assert explain(tree) == message


def test_explain_errors_reports_every_error_once() -> None:
    message = explain(
        {"lr": 1, "training": {"max_steps": 0, "precision": "x"}, "run": {"nam": "a"}}
    )
    assert len(message.splitlines()) == 5  # run.name is missing as well


def test_explain_errors_names_the_nearest_known_place() -> None:
    with pytest.raises(ValidationError, match=r"validation error") as caught:
        AlignConfig.model_validate({"training": {"max_steps": 0}})
    places: dict[tuple[str | int, ...], str] = {(): "f:1", ("training",): "f:7"}
    assert explain_errors(caught.value, root=AlignConfig, places=places).startswith(
        "f:7: training.max_steps is 0."
    )


def test_suggest_is_silent_about_words_that_are_not_near() -> None:
    assert suggest("alig", ["align", "instruct"]) == " Did you mean align?"
    assert suggest("qqq", ["align", "instruct"]) == ""
