from pathlib import Path

from tokenizers import Tokenizer

from phiray.world.tokenizer import END_OF_TEXT, train_tokenizer


def test_tokenizer_returns_any_text_and_makes_words_of_frequent_ones(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "tokenizer.json"
    train_tokenizer([" a large red circle"] * 50, file, vocab_size=300)

    tokenizer = Tokenizer.from_file(str(file))

    assert tokenizer.encode(" red circle").tokens == ["Ġred", "Ġcircle"]
    assert tokenizer.decode(tokenizer.encode("Zoë <|x 漢").ids) == "Zoë <|x 漢"
    assert tokenizer.token_to_id(END_OF_TEXT) == 0
    assert tokenizer.get_vocab_size() <= 300


def test_tokenizer_file_repeats(tmp_path: Path) -> None:
    texts = [" a small blue star at the top"] * 3 + [" nothing else"]

    train_tokenizer(texts, tmp_path / "a.json", vocab_size=300)
    train_tokenizer(texts, tmp_path / "b.json", vocab_size=300)

    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
