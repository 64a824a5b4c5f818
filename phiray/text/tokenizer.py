"""One tokenizer for training, prompts and evaluation: text to ids, where text is only ever data.

Source: Hugging Face `tokenizers`. `<image>` and `<|pad|>` take the first free ids after the
tokenizer's own (50295 and 50296 for Phi-2, whose 51,200 embedding rows need no resize).
Limits: no text ever gives the EOS, image or padding id; those are put in by id.
"""

import hashlib
import json
from collections.abc import Sequence

from tokenizers import Tokenizer as FastTokenizer

from phiray.errors import DataError, ExitCode
from phiray.storage import AnyPath, path_of

TOKENIZER_FILE = "tokenizer.json"
_SETTINGS_FILE = "tokenizer_config.json"
_DEFAULT_EOS = "<|endoftext|>"


class Tokenizer:
    """Turn text into ids and back; the content of `tokenizer.json` is all its state."""

    def __init__(self, content: str, *, eos_token: str = _DEFAULT_EOS) -> None:
        """Build from the content of a `tokenizer.json`, e.g. one kept in a checkpoint.

        Raises:
            DataError: if the content is no tokenizer, or does not know `eos_token`.
        """
        try:
            fast: FastTokenizer = FastTokenizer.from_str(content)
        except Exception as error:  # the library raises nothing narrower
            raise DataError(
                f"The tokenizer cannot be read: {error}. Expected the JSON that Hugging Face "
                f"tokenizers write. Give the folder of a model's {TOKENIZER_FILE}."
            ) from error
        fast.encode_special_tokens = True  # "<|endoftext|>" inside a text is only letters
        fast.no_truncation()
        fast.no_padding()
        eos_id: int | None = fast.token_to_id(eos_token)
        if eos_id is None:
            raise DataError(
                f"The tokenizer has no token {eos_token!r}, which should end every text. "
                f"Name its own in {_SETTINGS_FILE}, key eos_token."
            )
        first_free = max(fast.get_vocab(with_added_tokens=True).values()) + 1
        self._fast = fast
        self.content = content
        self.eos_token = eos_token
        self.eos_id = eos_id
        self.image_id = first_free
        self.pad_id = first_free + 1
        self.vocab_size = first_free + 2
        self.fingerprint = hashlib.sha256(content.encode()).hexdigest()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the JSON alone: the library's own pickle forgets `encode_special_tokens`."""
        return _tokenizer_from_content, (self.content, self.eos_token)

    @staticmethod
    def load(path: AnyPath | str) -> "Tokenizer":
        """Read a folder with a `tokenizer.json`, or that file itself.

        Raises:
            DataError: if there is none (66), or it is broken (65).
        """
        file = path_of(path) if isinstance(path, str) else path
        file = file / TOKENIZER_FILE if file.is_dir() else file
        if not file.is_file():
            raise DataError(
                f"No tokenizer at {file}. Expected a {TOKENIZER_FILE} there. Set data.tokenizer to "
                "the folder of one.",
                exit_code=ExitCode.MISSING_INPUT,
            )
        try:
            content = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"The tokenizer {file} is not UTF-8 text ({error.reason} at byte {error.start}). "
                f"Expected JSON. Get {TOKENIZER_FILE} again."
            ) from error
        try:
            return Tokenizer(content, eos_token=_eos_token_beside(file))
        except DataError as error:
            raise DataError(f"{file}: {error.message}", exit_code=error.exit_code) from error

    def encode(self, text: str) -> list[int]:
        """Give the ids of a text, without any id that the text does not spell."""
        return list(self._fast.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode many texts, on all cores; the same ids as `encode` on each."""
        encodings = self._fast.encode_batch_fast(list(texts), add_special_tokens=False)
        return [list(encoding.ids) for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """Give the text of ids; EOS, image, padding and unknown ids leave no trace in it."""
        text: str = self._fast.decode(list(ids), skip_special_tokens=True)
        return text


def _tokenizer_from_content(content: str, eos_token: str) -> Tokenizer:
    return Tokenizer(content, eos_token=eos_token)


def _eos_token_beside(file: AnyPath) -> str:
    """Read the name of the EOS token from the settings file beside, where there is one."""
    settings_file = file.with_name(_SETTINGS_FILE)
    if not settings_file.is_file():
        return _DEFAULT_EOS
    try:
        settings = json.loads(settings_file.read_bytes())
    except ValueError as error:
        raise DataError(
            f"{settings_file} is not JSON: {error}. Expected the settings of a tokenizer. Get it "
            "again, or remove it."
        ) from error
    token = settings.get("eos_token") if isinstance(settings, dict) else None
    if isinstance(token, dict):  # older files write {"content": "<|endoftext|>", ...}
        token = token.get("content")
    return token if isinstance(token, str) else _DEFAULT_EOS
