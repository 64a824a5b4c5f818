import json

from phiray.data.check.report import MAX_NOTED_PLACES, CheckReport


def test_report_shows_one_place_of_each_kind_and_keeps_all() -> None:
    report = CheckReport(counts={"images": 3})
    for index in range(7):
        report.find("missing image", f"{index}.jpg", of="images")
    report.note("no captions", "image 4")

    assert report.rows() == [
        ("images", "3", ""),
        ("note: no captions", "1", "image 4"),
        ("FOUND: missing image", "7", "0.jpg"),
    ]
    plain = json.loads(json.dumps(report.to_json(0.0)))
    assert plain["findings"]["missing image"]["count"] == 7
    assert plain["findings"]["missing image"]["places"] == [f"{index}.jpg" for index in range(7)]


def test_verdict_adds_up_the_faults_of_a_unit() -> None:
    report = CheckReport()
    report.add_total("images", 100)
    report.find("missing image", "1.jpg", of="images")
    report.find("broken file: empty", "2.jpg", of="images")

    assert report.fault_fractions() == {"images": 0.02}
    assert report.verdict(0.02) == []
    assert report.verdict(0.019) == ["2.00% of the images are at fault, at most 1.90% may be"]


def test_verdict_lets_no_leak_pass() -> None:
    report = CheckReport()
    report.leak("leak", "a = b")

    assert report.verdict(1.0) == ["leak: 1, and one is too many"]
    assert report.to_json(1.0)["is_fit"] is False


def test_notes_alone_are_fit_and_few_of_their_places_are_kept() -> None:
    report = CheckReport()
    for index in range(MAX_NOTED_PLACES + 1):
        report.note("no captions", f"image {index}")

    assert report.verdict(0.0) == []
    assert report.notes["no captions"].count == MAX_NOTED_PLACES + 1
    assert len(report.notes["no captions"].places) == MAX_NOTED_PLACES


def test_rows_keep_control_characters_off_the_terminal() -> None:
    report = CheckReport()
    report.note("odd name", "a\x1b[31m\udcff\n.jpg")

    assert report.rows() == [("note: odd name", "1", "a?[31m??.jpg")]
