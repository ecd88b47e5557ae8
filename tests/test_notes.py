"""A client's note is text of one line, and no longer than a line."""

from fedsec.notes import LONGEST_NOTE, note_in


def test_a_note_is_what_was_said() -> None:
    assert note_in({"note": "its state was damaged; it started anew"}) == "its state was damaged; it started anew"


def test_what_is_no_text_is_no_note() -> None:
    assert note_in(None) == note_in({}) == note_in({"note": 5}) == note_in({"note": ["a"]}) == ""


def test_a_note_is_cut_and_cleaned() -> None:
    found = note_in({"note": "a\n\x1b[2J" + "b" * 10_000})
    assert found.startswith("a\\n\\x1b[2Jbbb")
    assert len(found) <= LONGEST_NOTE
    assert found.isprintable()
