"""Tables on narrow terminals."""

import io

import pandas as pd
import pytest
from rich.console import Console

from fedsec.report.terminal import show

WIDE = pd.DataFrame(
    {
        "data.q": ["0.1", "0.9"],
        "defense.strategy": ["norm-clip-noise", "flame"],
        **{f"MA number-{i}": ["97.5 ± 0.2", f"86.0 ± {i}.5"] for i in range(9)},
        "runs": ["5", "5"],
    }
)


def shown(table: pd.DataFrame, width: int) -> str:
    text = io.StringIO()
    show(Console(file=text, width=width), "A title", table)
    return text.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 120, 300])
def test_no_number_is_cut_and_no_line_is_too_long(width: int) -> None:
    text = shown(WIDE, width)
    assert text.count("97.5 ± 0.2") == 9
    assert all(f"86.0 ± {i}.5" in text for i in range(9))
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width


def test_every_part_repeats_the_settings() -> None:
    parts = shown(WIDE, 80).count("norm-clip-noise")
    assert parts > 1
    assert shown(WIDE, 300).count("norm-clip-noise") == 1
    assert shown(WIDE, 80).count("flame") == parts


def test_long_settings_are_folded_and_numbers_are_not() -> None:
    table = pd.DataFrame({"data.dataset": ["/a/very/long/folder/" * 5], "MA": ["97.5 ± 0.2"]})
    text = shown(table, 40)
    assert "97.5 ± 0.2" in text
    assert max(map(len, text.splitlines())) <= 40
