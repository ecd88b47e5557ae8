"""What clients and files say is shown as it is, and never as an instruction to the terminal."""

import io

import pytest
from rich.console import Console

from fedsec.progress import ProgressObserver, printable
from fedsec.runs.filling import FillingRecord
from fedsec.runs.rounds import RoundRecord

MOUNT = "FileNotFoundError: no such mount: [/mnt/data]"


def shown(*, width: int = 200) -> tuple[ProgressObserver, io.StringIO]:
    out = io.StringIO()
    return ProgressObserver(Console(file=out, width=width, force_terminal=True, color_system=None)), out


def record(**more: object) -> RoundRecord:
    return RoundRecord(round=1, MA=90.0, BA=None, loss=0.1, class_accuracy=[90.0], **more)  # type: ignore[arg-type]


def test_the_reason_of_a_dropped_client_may_look_like_markup() -> None:
    observer, out = shown()
    with observer:
        observer.preparing("demo", 3)
        observer.finished_round(record(dropped=[{"node_id": 4, "reason": MOUNT}], skipped="[/bold] too few"))
    assert f"note round 1: node 4 dropped: {MOUNT}" in out.getvalue()
    assert "note round 1 skipped: [/bold] too few" in out.getvalue()


def test_a_notice_and_the_label_of_a_run_may_look_like_markup() -> None:
    observer, out = shown()
    with observer:
        observer.preparing("[/x] trojan [red]", 3)
        observer.noticed("node 7 refused: it runs other code (fedsec '[/]')")
    assert "[/x] trojan [red]: node 7 refused: it runs other code (fedsec '[/]')" in out.getvalue()
    assert out.getvalue().count("[/x] trojan [red]") > 1  # in the bar too


def test_who_has_filled_its_classes_is_in_the_bar_and_what_it_has_to_say_above() -> None:
    observer, out = shown()
    with observer:
        observer.preparing("demo", 3)
        observer.filled(FillingRecord(4, (1, 9), (9, 9), 1.5, True, "a GAN that [diverged]"), 2, 5)
    assert "filling 2/5" in out.getvalue()
    assert "note demo: client 4: a GAN that [diverged]" in out.getvalue()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("plain [x] é 字", "plain [x] é 字"), ("a\x1b[2Jb\n\r\ud800", "a\\x1b[2Jb\\n\\r\\ud800"), ("", "")],
)
def test_control_characters_are_shown_as_escapes(text: str, expected: str) -> None:
    assert printable(text) == expected


def test_quiet_shows_nothing() -> None:
    out = io.StringIO()
    with ProgressObserver(Console(file=out), quiet=True) as observer:
        observer.preparing("demo", 3)
        observer.noticed(MOUNT)
        observer.finished_round(record(dropped=[{"node_id": 4, "reason": MOUNT}]))
    assert out.getvalue() == ""
