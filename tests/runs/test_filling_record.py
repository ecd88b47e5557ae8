"""What a client says of its filling is checked before it is believed, and survives in the record."""

from dataclasses import replace
from typing import Any

import pytest

from fedsec.runs.config import RunConfig
from fedsec.runs.filling import FillingRecord, filling_from
from fedsec.runs.record import RecordError, RunFolder

REPORT = FillingRecord(2, (90, 10, 0), (90, 90, 0), 1.25, True, "no image of class 2", "cgan in bf16 on cpu")


def test_a_report_is_read_as_it_was_written() -> None:
    line = REPORT.line()
    assert filling_from(line, 2) == REPORT
    assert line["skew_before"] == pytest.approx(0.9 - 1 / 3)
    assert line["skew_after"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("before", None), ("before", [1.5, 2, 3]), ("before", [True, 0, 0]), ("after", "many"), ("after", [-1, 0, 0]),
        ("after", [90, 9, 0]), ("after", [90, 90]), ("after", [90, 90, 2**53]), ("before", []), ("seconds", "long"),
        ("seconds", float("nan")), ("seconds", -1.0), ("seconds", True), ("seconds", 10**400), ("kept", 1), ("note", 7),
        ("by", None),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_no_report(key: str, found: Any) -> None:
    words = {
        "after": "after: found|fewer than before",
        "kept": "kept must be",
        "note": "note and by texts",
        "by": "by texts",
    }
    with pytest.raises(ValueError, match=words.get(key, f"{key}: found")):
        filling_from({**REPORT.line(), key: found}, 2)


def test_a_client_cannot_have_held_something_else_at_the_start() -> None:
    assert filling_from(REPORT.line(), 2, (90, 10, 0)) == REPORT
    with pytest.raises(ValueError, match=r"before: found \[90, 10, 0\]; at the start it held \[80, 10, 0\]"):
        filling_from(REPORT.line(), 2, (80, 10, 0))


def test_a_report_cannot_speak_for_another_client_or_write_to_a_terminal() -> None:
    said = filling_from({**REPORT.line(), "client": 0, "note": "\x1b[2J" + "x" * 500}, 2)
    assert said.client == 2
    assert "\x1b" not in said.note
    assert len(said.note) <= 200


def test_a_line_that_was_cut_short_is_forgotten() -> None:
    folder = RunFolder.create(RunConfig())
    folder.append_filling(REPORT)
    with (folder.path / "filling.jsonl").open("a") as file:
        file.write('{"client": 3, "befo')
    assert folder.keep_fillings({2: ()}) == {2: REPORT}
    folder.append_filling(replace(REPORT, client=3))
    assert list(folder.fillings()) == [2, 3]


def test_lines_of_clients_that_hold_something_else_are_forgotten() -> None:
    folder = RunFolder.create(RunConfig())
    for client in (2, 3, 4):
        folder.append_filling(replace(REPORT, client=client))
    kept = folder.keep_fillings({2: (90, 10, 0), 3: (89, 11, 0)})
    assert list(kept) == list(folder.fillings()) == [2, 4]


def test_a_damaged_line_is_an_error_that_names_it() -> None:
    folder = RunFolder.create(RunConfig())
    folder.append_filling(REPORT)
    path = folder.path / "filling.jsonl"
    path.write_text(path.read_text().replace("90", "true"))
    with pytest.raises(RecordError, match=r"filling.jsonl, line 1: damaged .* delete it and give"):
        folder.fillings()
