"""What a table file may ask for of defended rounds and of time."""

from pathlib import Path

import pytest

from fedsec.runs.defended import Defended, defended_of, defended_problems
from fedsec.runs.table import load_table

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "gancrop"
AXES = {"defense.strategy": ["fedavg", "krum"]}


def test_the_paper_s_table_has_its_bound_its_seconds_and_keeps_them_when_reduced() -> None:
    table = load_table(EXPERIMENT / "table_1.toml")
    assert table.defended is not None
    assert table.defended.below == 30.0
    ratios = {name: round(value / 258, 2) for name, value in table.defended.seconds.items()}
    assert ratios == {
        "fedavg": 1.0, "krum": 1.17, "trimmed-mean": 1.17, "abnormal-clients": 2.07, "gansweep": 1.75, "gancrop": 1.85
    }  # fmt: skip
    assert table.as_reduced().defended == table.defended
    assert "it shows the methods on other data" in table.as_reduced().note


def test_a_table_without_the_section_asks_for_nothing() -> None:
    assert defended_of({}) is None
    assert list(defended_problems({}, AXES)) == []
    assert defended_of({"below": 30}) == Defended(30.0, {})


@pytest.mark.parametrize(
    ("section", "axes", "expected"),
    [
        ([], AXES, "found []; expected below"),
        ({"seconds": {}}, AXES, "expected below"),
        ({"below": 0}, AXES, "defended.below: found 0; expected a percentage"),
        ({"below": "30"}, AXES, "defended.below: found '30'"),
        ({"below": 30, "over": 1}, AXES, "defended: 'over' is no key of it"),
        ({"below": 30, "seconds": {"krum": -1}}, AXES, "expected published seconds of a round"),
        ({"below": 30, "seconds": {"flame": 1}}, AXES, "defended.seconds: 'flame' is not on the axis"),
        ({"below": 30, "seconds": {"krum": 1}}, AXES | {"data.q": [0.1]}, "expected defense.strategy alone"),
    ],
)
def test_a_mistake_in_the_section_is_explained(section: object, axes: dict[str, list[object]], expected: str) -> None:
    [problem] = defended_problems(section, axes)
    assert expected in problem


@pytest.mark.parametrize("path", sorted(EXPERIMENT.glob("*.toml")), ids=lambda path: path.stem)
def test_every_table_of_the_experiment_can_be_run(path: Path) -> None:
    table = load_table(path)
    assert table.defended is not None
    assert all(config.data.public == 5000 for _, config in table.runs([0]))
