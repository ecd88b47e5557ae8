"""Flower projects of others run with a strategy of ours after the change that the how-to page names, and no other."""

import difflib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import FlowerHome, FlowerRun
from tests.pages import PLUG_IN, code

pytestmark = pytest.mark.slow

PROJECTS = Path(__file__).parent / "projects"
NODES = 8
CHANCE, GOOD = 0.3, 0.65
"""Accuracies below and above which a model of ten digits has learned nothing, or something."""

NAN_DROPPED = "dropped: update holds NaN or infinity"
WATCHED = "\nfrom {package}.watch import watched\n\nglobal_evaluate = watched(global_evaluate, {notes!r})\n"

Notes = list[dict[str, Any]]


def build(folder: Path, project: str, server: str | None = None) -> Path:
    """Put a project together in ``folder``, with this server or its own."""
    app = folder / project
    shutil.copytree(PROJECTS / project, app)
    [package] = [file.parent for file in app.glob("*/task.py")]
    for file in ("poison.py", "watch.py"):
        shutil.copy(PROJECTS / file, package)
    if server is not None:
        (package / "server_app.py").write_text(
            server + WATCHED.format(package=package.name, notes=str(folder / "notes"))
        )
    return app


def run(flower: FlowerHome, app: Path, config: str = "num-server-rounds=3") -> tuple[FlowerRun, Notes]:
    """Run a project; return what became of it and what its server noted."""
    resources = f"num-supernodes={NODES} client-resources-num-cpus=1"
    found = flower.run(app, "--federation-config", resources, "--run-config", config)
    notes = app.parent / "notes"
    return found, [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []


def accuracies(notes: Notes) -> list[float]:
    return [line["accuracy"] for line in notes]


def packages(notes: Notes) -> set[str]:
    """Return what the server's process had loaded when it noted something last."""
    return set(notes[-1]["modules"])


@pytest.mark.parametrize("interface", ["Message API", "Older interface"])
def test_the_page_changes_the_import_and_the_constructor_and_nothing_else(interface: str) -> None:
    before, after = (code(PLUG_IN, f"{interface}: {when}").splitlines() for when in ("before", "after"))
    changed = [line for line in difflib.ndiff(before, after) if line[:2] in ("- ", "+ ")]
    gone, new = ([line[2:].strip() for line in changed if line.startswith(sign)] for sign in "-+")
    assert [line.split("(")[0] for line in gone] == [gone[0], "strategy = FedAvg"]
    assert gone[0].endswith("import FedAvg")
    assert new[0].startswith("from fedsec.strategies import ")
    assert len(new) <= 3


def test_a_pytorch_project_is_ruined_by_two_clients(flower: FlowerHome, tmp_path: Path) -> None:
    found, notes = run(flower, build(tmp_path, "quickstart_pytorch", code(PLUG_IN, "Message API: before")))
    assert found.status == "finished:completed", found.output
    assert len(notes) == 4
    assert max(accuracies(notes)) < CHANCE


def test_the_pytorch_project_learns_with_a_strategy_of_ours(flower: FlowerHome, tmp_path: Path) -> None:
    app, model = build(tmp_path, "quickstart_pytorch", code(PLUG_IN, "Message API: after")), tmp_path / "model.pt"
    found, notes = run(flower, app, f"model-file='{model}'")
    assert found.status == "finished:completed", found.output
    assert accuracies(notes)[-1] > GOOD
    assert found.output.count(NAN_DROPPED) == 2
    assert model.stat().st_size > 10_000


def test_an_older_project_is_ruined_by_two_clients_and_ends_with_an_error(flower: FlowerHome, tmp_path: Path) -> None:
    found, notes = run(flower, build(tmp_path, "sklearn_logreg", code(PLUG_IN, "Older interface: before")))
    assert found.status == "finished:failed", found.output
    assert "contains NaN" in found.output
    assert max(accuracies(notes)) < CHANCE


def test_the_older_project_learns_with_a_strategy_of_ours_and_its_server_loads_no_torch(
    flower: FlowerHome, tmp_path: Path
) -> None:
    found, notes = run(flower, build(tmp_path, "sklearn_logreg", code(PLUG_IN, "Older interface: after")))
    assert found.status == "finished:completed", found.output
    assert accuracies(notes)[-1] > GOOD
    assert found.output.count(NAN_DROPPED) == 2
    assert {"fedsec", "hdbscan"} <= packages(notes)
    assert packages(notes) & {"torch", "torchvision"} == set()


def test_a_scikit_learn_project_is_ruined_by_two_clients(flower: FlowerHome, tmp_path: Path) -> None:
    found, notes = run(flower, build(tmp_path, "quickstart_sklearn"), f"notes='{tmp_path / 'notes'}'")
    assert found.status == "finished:completed", found.output
    assert accuracies(notes)[-1] < CHANCE


def test_the_scikit_learn_project_learns_with_a_strategy_of_ours_and_its_server_loads_no_torch(
    flower: FlowerHome, tmp_path: Path
) -> None:
    app = build(tmp_path, "quickstart_sklearn")
    server = app / "sklearnexample" / "server_app.py"
    text = server.read_text()
    for old, new in (
        ("from flwr.serverapp.strategy import FedAvg", "from fedsec.strategies import TrimmedMean"),
        ("strategy = FedAvg(", "strategy = TrimmedMean(0.25, "),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    server.write_text(text)
    found, notes = run(flower, app, f"notes='{tmp_path / 'notes'}'")
    assert found.status == "finished:completed", found.output
    assert accuracies(notes)[-1] > GOOD
    assert notes[-1]["by_clients"]["3"]["accuracy"] > GOOD
    assert found.output.count(NAN_DROPPED) == 2
    assert "fedsec" in packages(notes)
    assert packages(notes) & {"torch", "torchvision", "hdbscan", "numba", "matplotlib"} == set()
