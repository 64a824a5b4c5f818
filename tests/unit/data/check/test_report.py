import json

from phiray.data.check.report import CheckReport


def test_report_shows_one_place_of_each_kind_and_keeps_all() -> None:
    report = CheckReport(counts={"images": 3})
    for index in range(7):
        report.find("missing image", f"{index}.jpg")
    report.note("no captions", "image 4")

    assert report.has_findings
    assert report.rows() == [
        ("images", "3", ""),
        ("note: no captions", "1", "image 4"),
        ("FOUND: missing image", "7", "0.jpg"),
    ]
    plain = json.loads(json.dumps(report.to_json()))
    assert plain["findings"]["missing image"]["count"] == 7
    assert plain["findings"]["missing image"]["places"] == [f"{index}.jpg" for index in range(7)]


def test_report_with_notes_alone_has_no_findings() -> None:
    report = CheckReport()
    report.note("no captions", "image 4")

    assert not report.has_findings
