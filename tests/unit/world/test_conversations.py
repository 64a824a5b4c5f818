import random
from collections import Counter

from phiray.world.conversations import MAX_TURNS, conversation, llava_rows
from phiray.world.scenes import Scene, draw_scene


def true_answer(scene: Scene, question: str) -> str:
    """Answer by looking, independently of how the question was made."""
    text = question.lower().rstrip("?.")
    words = text.split()
    named = [t for t in scene.things if t.shape in words]
    coloured = [t for t in scene.things if t.colour in words]
    if text.startswith("how many"):
        return ("one", "two", "three")[len(scene.things) - 1]
    if text.startswith("what shape is at the"):
        return next(t.shape for t in scene.things if text.endswith(t.place))
    if text.startswith("what shape"):
        return coloured[0].shape
    if text.startswith("what colour"):
        return named[0].colour
    if text.startswith("where"):
        return named[0].place
    if text.endswith("large or small"):
        return named[0].size
    if text.startswith("is there a"):
        return "yes" if named else "no"
    assert text.startswith("is the")
    return "yes" if named[0].colour in words else "no"


def test_conversation_answers_are_true() -> None:
    rng = random.Random(0)
    checked = Counter[str]()
    for _ in range(500):
        scene = draw_scene(rng, frozenset())
        turns = conversation(scene, rng)
        assert 1 <= len(turns) <= MAX_TURNS
        for question, answer in turns:
            if answer.startswith("I see"):
                assert all(f"{t.colour} {t.shape} at the {t.place}" in answer for t in scene.things)
            else:
                assert answer == true_answer(scene, question), question
                checked[question.split()[0]] += 1
    assert set(checked) == {"What", "Where", "Is", "How"}


def test_best_blind_answers_are_right_in_under_45_percent() -> None:
    rng = random.Random(0)
    answers: dict[str, Counter[str]] = {}
    for _ in range(5000):
        for question, answer in conversation(draw_scene(rng, frozenset()), rng):
            answers.setdefault(question, Counter())[answer] += 1

    best = sum(counts.most_common(1)[0][1] for counts in answers.values())

    assert best / sum(counts.total() for counts in answers.values()) < 0.45


def test_yes_and_no_are_balanced() -> None:
    rng = random.Random(0)
    counts = Counter(
        answer
        for _ in range(4000)
        for _, answer in conversation(draw_scene(rng, frozenset()), rng)
        if answer in {"yes", "no"}
    )

    assert 0.45 < counts["yes"] / counts.total() < 0.55


def test_llava_rows_put_the_marker_at_both_ends_of_the_first_question_only() -> None:
    turns = {index: [("Why?", "so"), ("When?", "now")] for index in range(50)}

    rows = llava_rows(turns, random.Random(0))

    first = {row["conversations"][0]["value"] for row in rows}
    assert first == {"<image>\nWhy?", "Why?\n<image>"}
    assert rows[3]["image"] == "train2017/000000000003.jpg"
    for row in rows:
        assert [turn["from"] for turn in row["conversations"]] == ["human", "gpt"] * 2
        assert all("<image>" not in turn["value"] for turn in row["conversations"][1:])
