"""One answer of a trained model."""

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from phiray.config.model import ModelDescription, PhiConfig, VisionConfig
from phiray.config.stages import AlignConfig, AnyStageConfig, InstructConfig, ScratchConfig
from phiray.errors import ConfigError, DataError, ExitCode
from phiray.images.decode import decode_image
from phiray.jobs import answer as answer_module
from phiray.jobs.answer import answer, build_prompt
from phiray.models.build import build_language_model
from phiray.stages.restore import LoadedModel
from phiray.text.prompts import caption_prompt, conversation_prompt
from phiray.text.tokenizer import Tokenizer
from tests.image_builders import encoded_image
from tests.model_builders import all_logits
from tests.stage_builders import litgpt_config, train
from tests.text_builders import build_tokenizer_json

VISION = VisionConfig(model="custom", image_size=16, patch_size=8, hidden_size=8)
MODEL = PhiConfig(
    vocab_size=320,
    hidden_size=16,
    intermediate_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    max_position_embeddings=64,
    partial_rotary_factor=0.5,
)


def loaded_model(config: AnyStageConfig) -> LoadedModel:
    sees = isinstance(config, AlignConfig | InstructConfig)
    return LoadedModel(
        model=build_language_model(MODEL, kind="phi", seed=0).eval(),
        tokenizer=Tokenizer(build_tokenizer_json()),
        config=config,
        description=ModelDescription(
            kind="vision-language" if sees else "phi",
            language_model=MODEL,
            vision=VISION if sees else None,
        ),
        state={},
        ledger={},
        checkpoint_path=Path("runs"),
    )


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded_image(1))
    return path


def test_build_prompt_of_align_is_the_image_alone(image: Path) -> None:
    loaded = loaded_model(AlignConfig())
    prompt = build_prompt(loaded, None, image=image)
    assert prompt.input_ids == caption_prompt(loaded.tokenizer, num_patches=4)
    assert prompt.pixels is not None
    np.testing.assert_array_equal(prompt.pixels, decode_image(image.read_bytes(), image_size=16))


def test_build_prompt_has_one_position_for_each_pooled_square(image: Path) -> None:
    loaded = loaded_model(AlignConfig())
    vision = VISION.model_copy(update={"pooling": 2})  # of 2 x 2 patches
    description = loaded.description.model_copy(update={"vision": vision})
    prompt = build_prompt(replace(loaded, description=description), None, image=image)
    assert prompt.input_ids == [loaded.tokenizer.image_id]


@pytest.mark.parametrize("has_image", [True, False])
def test_build_prompt_of_instruct_is_that_of_training(image: Path, has_image: bool) -> None:
    loaded = loaded_model(InstructConfig())
    system = loaded.config.data.system_prompt  # type: ignore[union-attr]  # an instruct config
    prompt = build_prompt(loaded, "What is it?", image=image if has_image else None)
    expected = conversation_prompt(
        loaded.tokenizer, "What is it?", num_patches=4 if has_image else 0, system=system
    )
    assert prompt.input_ids == expected
    assert (prompt.pixels is not None) == has_image


def test_build_prompt_of_a_language_model_is_the_text() -> None:
    loaded = loaded_model(ScratchConfig())
    prompt = build_prompt(loaded, "Once upon", image=None)
    assert prompt.input_ids == loaded.tokenizer.encode("Once upon")


@pytest.mark.parametrize(
    ("config", "question", "has_image", "message"),
    [
        (ScratchConfig(), "x", True, r"a checkpoint of 'scratch' sees no image"),
        (ScratchConfig(), None, False, r"There is no text\. A checkpoint of 'scratch'"),
        (AlignConfig(), None, False, r"--image is missing"),
        (AlignConfig(), "What?", True, r"The question is 'What\?', but a checkpoint of `align`"),
        (InstructConfig(), None, True, r"There is no question"),
    ],
)
def test_build_prompt_refuses_what_the_stage_cannot_use(
    image: Path, config: AnyStageConfig, question: str | None, has_image: bool, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build_prompt(loaded_model(config), question, image=image if has_image else None)
    assert int(caught.value.exit_code) == 2


def test_build_prompt_names_an_image_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"b\.jpg cannot be read: No such file") as caught:
        build_prompt(loaded_model(AlignConfig()), None, image=tmp_path / "b.jpg")
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_build_prompt_names_an_image_that_may_not_be_read(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path, mode: str) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"a\.jpg cannot be read: Permission denied") as caught:
        build_prompt(loaded_model(AlignConfig()), None, image=image)
    assert caught.value.exit_code == ExitCode.PERMISSION


def test_build_prompt_reads_no_device_that_never_ends() -> None:
    with pytest.raises(DataError, match="/dev/zero is no file") as caught:
        build_prompt(loaded_model(AlignConfig()), None, image=Path("/dev/zero"))
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_answer_refuses_a_text_that_is_not_unicode(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not UTF-8 at character 2") as caught:
        answer(tmp_path, "ab\udcff", image=None, max_new_tokens=1)
    assert caught.value.exit_code == ExitCode.USAGE


def test_build_prompt_names_an_image_that_is_broken(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"--image is .*b\.jpg\. The image is unusable") as caught:
        build_prompt(loaded_model(AlignConfig()), None, image=tmp_path / "b.jpg")
    assert caught.value.exit_code == ExitCode.BAD_DATA


def test_answer_continues_the_text_greedily(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_module, "load_model", lambda _: loaded_model(ScratchConfig()))
    told: list[tuple[str, int, int]] = []
    texts = {
        answer(
            Path("runs/x"),
            "A small red",
            image=None,
            max_new_tokens=count,
            progress=lambda *now: told.append(now),
        )
        for count in (8, 8, 4)
    }
    assert told == 3 * [("answering", 0, 1), ("answering", 1, 1)]
    assert len(texts) == 2
    assert max(texts, key=len).startswith(min(texts, key=len))


def test_answer_refuses_a_text_that_leaves_no_position(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_module, "load_model", lambda _: loaded_model(ScratchConfig()))
    with pytest.raises(DataError, match=r"the model has 64 positions .*Shorten the text") as caught:
        answer(Path("runs/x"), "red " * 80, image=None, max_new_tokens=4)
    assert caught.value.exit_code == ExitCode.BAD_DATA


def test_answer_goes_on_with_a_text_from_a_checkpoint_of_litgpt(
    world: Path, tmp_path: Path
) -> None:
    trained = train(litgpt_config(world, tmp_path))
    text = answer(trained.run_dir, "The red", image=None, max_new_tokens=4)
    ids = trained.parts.tokenizer.encode("The red")
    for _ in range(4):  # LitGPT's own model, without a cache
        logits = all_logits(trained.parts.objective.token_model, torch.tensor([ids]))
        ids.append(int(logits[0, -1].argmax()))
    assert ids[-1] != trained.parts.tokenizer.eos_id
    assert text == trained.parts.tokenizer.decode(ids[-4:]).strip()
