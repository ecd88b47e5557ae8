"""What a report says of the filling of classes: who was filled, by what, and who was not."""

from dataclasses import replace
from pathlib import Path

from fedsec.report.fillings import filling_notes
from fedsec.report.page import build_report
from fedsec.runs.filling import FillingRecord
from fedsec.runs.record import RunFolder
from tests.report.finished import config, record

FILLED = FillingRecord(0, (90, 10), (90, 90), 1.0, False, "", "cgan in bf16 on cpu")
EVEN = FillingRecord(1, (50, 50), (50, 50), 0.0, False)
FAILED = FillingRecord(2, (10, 90), (10, 90), 1.0, False, "its GAN failed (the loss was nan); it goes on")


def run(path: Path, balance: str, *fillings: FillingRecord) -> RunFolder:
    folder = record(config(data_balance=balance, federation_clients=len(fillings) or 10), path, 90.0, 1.0)
    for filling in fillings:
        folder.append_filling(filling)
    return folder


def test_runs_that_fill_nothing_have_no_note(tmp_path: Path) -> None:
    assert filling_notes([run(tmp_path / "a", "none")]) == []


def test_who_was_filled_is_counted_with_the_skew_and_the_arithmetic(tmp_path: Path) -> None:
    folders = [run(tmp_path / "a", "cgan", FILLED, EVEN), run(tmp_path / "b", "repeat", EVEN)]
    assert filling_notes(folders) == [
        "Filled by cgan: 1 of 2 clients; skew 0.40 before and 0.00 after, on average; cgan in bf16 on cpu.",
        "Filled by repeat: 0 of 1 clients.",
    ]


def test_a_gan_that_failed_is_named_in_the_report(tmp_path: Path) -> None:
    folder = run(tmp_path / "broken", "cgan", FILLED, EVEN, FAILED)
    [note] = filling_notes([folder])
    assert note.endswith(
        "1 with skewed classes got nothing, such as client 2 of broken: its GAN failed (the loss was nan); it goes on."
    )
    assert note in build_report([folder]).notes


def test_a_gan_that_learned_little_is_named_though_its_images_are_used(tmp_path: Path) -> None:
    [note] = filling_notes([run(tmp_path / "poor", "cgan", replace(FILLED, note="its GAN learned little: far"), EVEN)])
    assert note.endswith("1 were filled with a remark, such as client 0 of poor: its GAN learned little: far.")


def test_clients_without_a_line_count_as_unknown(tmp_path: Path) -> None:
    folder = record(config(data_balance="repeat", federation_clients=5), tmp_path / "cut", 90.0, 1.0)
    folder.append_filling(replace(FILLED, by="repeat"))
    assert filling_notes([folder]) == [
        "Filled by repeat: 1 of 5 clients; skew 0.40 before and 0.00 after, on average; of 4 it is not known."
    ]
