import pytest

from phiray.config.load import load_search, value_at
from phiray.config.search import Dimension, grace_steps
from phiray.errors import ConfigError

CHOICES = ", ".join(str(number) for number in range(35))


def load(*changes: str, kind: str = "moe") -> object:
    return load_search("tiny", kind, overrides=changes)


def test_space_is_read_as_tune_names_it() -> None:
    space = (
        "['model.moe.num_experts=choice(2, 4)', 'training.learning_rate = loguniform(1e-3, 0.01)']"
    )
    search = load_search("tiny", "moe", overrides=[f"search.space={space}"]).search
    assert search.dimensions == [
        Dimension("model.moe.num_experts", "choice", (2, 4)),
        Dimension("training.learning_rate", "loguniform", (1e-3, 0.01)),
    ]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("search.space=[]", "space is empty"),
        ("search.space=['a.b']", "'a.b', which varies nothing"),
        ("search.space=['a=normal(0, 1)']", "varies nothing"),
        ("search.space=['a=choice()']", "offers nothing"),
        ("search.space=['a=uniform(2, 1)']", "two numbers, the lower one first"),
        ("search.space=['a=uniform(1, 2, 3)']", "two numbers"),
        ("search.space=['a=uniform(x, y)']", "two numbers"),
        ("search.space=['a=loguniform(0, 1)']", "numbers above 0"),
        ("search.space=['a=choice(1)', 'a=choice(2)']", "varies a twice"),
        ("search.space=['a=choice(2, 2)']", "offers a value twice"),
        ("search.space=['a=uniform(0, .inf)']", "finite numbers"),
        ("search.space=['run.name=choice(a)']", "varies run.name, by which trials could no"),
        ("search.space=['data.split.salt=choice(a)']", "could no longer be compared"),
        ("search.space=['training.max_steps=choice(5, 9)']", "could no longer be compared"),
        ("search.num_trials=1001", "num_trials"),
        ("search.reduction_factor=1e200", "reduction_factor"),
        (
            f"search={{algorithm: grid, space: ['a=choice({CHOICES})', 'b=choice({CHOICES})']}}",
            "1225",
        ),
        ("search.algorithm=grid", "has no list of values"),
        ("base.data.split.validation_fraction=0", "nothing could tell a good trial"),
        ("search.grace_steps=700", "no trial would ever be stopped"),
    ],
)
def test_what_cannot_be_searched_is_refused(change: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        load(change)


def test_no_scheduler_needs_no_grace() -> None:
    load("search.grace_steps=700", "search.scheduler=none")


@pytest.mark.parametrize(("max_steps", "expected"), [(500, 56), (700, 78), (9, 1)])
def test_grace_leaves_two_rungs(max_steps: int, expected: int) -> None:
    search = load_search("tiny", "moe").search
    assert grace_steps(search, max_steps=max_steps) == expected
    assert grace_steps(search.model_copy(update={"grace_steps": 5}), max_steps=max_steps) == 5


def test_value_at_follows_a_path() -> None:
    base = load_search("tiny", "projector").base
    assert value_at(base, "projector.kind") == "mlp"
    with pytest.raises(ConfigError, match=r"projector\.knd is not a setting"):
        value_at(base, "projector.knd")


def test_value_in_a_group_that_is_left_out_is_none() -> None:
    base = load_search("tiny", "moe", overrides=["base.model.moe=null"]).base
    assert value_at(base, "model.moe.num_experts") is None
