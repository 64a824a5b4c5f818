import pytest

from phiray.errors import CheckpointError, ConfigError, ExitCode
from phiray.stages.given_model import (
    check_given_model,
    check_same_tokenizer,
    explained_absence,
)
from phiray.text.tokenizer import Tokenizer
from tests.stage_builders import phi_config
from tests.text_builders import EOS, build_tokenizer_json

TOKENIZER = Tokenizer(build_tokenizer_json())


def test_given_model_is_checked_for_rows_and_positions() -> None:
    model = phi_config(vocab_size=TOKENIZER.vocab_size)
    limit = model.max_position_embeddings
    check_given_model(model, tokenizer=TOKENIZER, max_length=limit, setting="checkpoint a")
    with pytest.raises(ConfigError, match=f"checkpoint a reads at most {limit} tokens"):
        check_given_model(model, tokenizer=TOKENIZER, max_length=limit + 1, setting="checkpoint a")
    odd = model.model_copy(update={"max_position_embeddings": 100})  # rows are padded to 8
    check_given_model(odd, tokenizer=TOKENIZER, max_length=96, setting="checkpoint a")
    with pytest.raises(ConfigError, match="checkpoint a reads at most 96 tokens"):
        check_given_model(odd, tokenizer=TOKENIZER, max_length=97, setting="checkpoint a")
    small = phi_config(vocab_size=20)
    with pytest.raises(ConfigError, match="checkpoint a has a vocabulary of 20 rows"):
        check_given_model(small, tokenizer=TOKENIZER, max_length=limit, setting="checkpoint a")


@pytest.mark.parametrize(("ending", "eos_token"), [("\n", EOS), ("", "a")])
def test_check_same_tokenizer_compares_ids_and_end_of_text(ending: str, eos_token: str) -> None:
    content = build_tokenizer_json()
    tokenizer = Tokenizer(content)
    check_same_tokenizer(Tokenizer(content), tokenizer, setting="checkpoint runs/a")
    other = Tokenizer(content + ending, eos_token=eos_token)
    with pytest.raises(ConfigError, match="checkpoint runs/a was trained with another"):
        check_same_tokenizer(other, tokenizer, setting="checkpoint runs/a")


def test_explained_absence_leaves_a_broken_checkpoint_as_it_is() -> None:
    with (
        pytest.raises(CheckpointError, match=r"^torn$"),
        explained_absence("checkpoint", "runs/a", mend="Train it."),
    ):
        raise CheckpointError("torn")
    with (
        pytest.raises(
            CheckpointError, match=r"^checkpoint is runs/a\. Gone\. Train it\.$"
        ) as caught,
        explained_absence("checkpoint", "runs/a", mend="Train it."),
    ):
        raise CheckpointError("Gone.", exit_code=ExitCode.MISSING_INPUT)
    assert caught.value.exit_code == ExitCode.MISSING_INPUT
