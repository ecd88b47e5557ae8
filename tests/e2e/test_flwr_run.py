"""Flower's own command runs the app, and the run's status says how it went."""

import json
import zipfile
from pathlib import Path

import datasets
import numpy as np
import pytest

from tests.e2e.conftest import FlowerHome

TEN = ("--federation-config", "num-supernodes=10 client-resources-num-cpus=1")

pytestmark = pytest.mark.slow


def test_flwr_run_trains_the_default_federation(flower: FlowerHome, clone: Path) -> None:
    run = flower.run(clone, *TEN, "--run-config", "federation.rounds=2 run.name='default'")
    assert run.status == "finished:completed", run.output
    record = flower.records()[-1]
    assert record.parent.name == "default"
    summary = json.loads((record / "summary.json").read_text())
    assert summary["final"]["round"] == 2
    assert f"record in {record}" in run.output


def test_flwr_run_takes_a_run_file(flower: FlowerHome, clone: Path) -> None:
    _small_mnist(flower.folder / "data" / "mnist")
    run = flower.run(clone, *TEN, "--run-config", str(clone / "experiments" / "quickstart" / "mnist_flame.toml"))
    assert run.status == "finished:completed", run.output
    record = flower.records()[-1]
    assert record.parent.name == "mnist_flame"
    environment = json.loads((record / "environment.json").read_text())
    assert environment["strategy"] == "Flame"
    assert environment["engine"] == "ray"
    assert environment["options"]["clip"] == 0.9


def test_too_few_nodes_end_the_run_with_the_command_to_give(flower: FlowerHome, clone: Path) -> None:
    before = flower.records()
    run = flower.run(clone, "--federation-config", "num-supernodes=2")
    command = 'flwr run . --federation-config "num-supernodes=10 client-resources-num-cpus=1"'
    assert run.status == "finished:failed"
    assert "the federation has 2 nodes and the configuration needs 10" in run.details
    assert f"with the same --run-config if it had one: {command}" in run.details
    assert any(line.endswith(command) and "fedsec:" in line for line in run.output.splitlines())
    assert flower.records() == before


def test_a_senseless_value_ends_the_run_with_one_line(flower: FlowerHome, clone: Path) -> None:
    before = flower.records()
    run = flower.run(clone, *TEN, "--run-config", "defense.strategy='flam'")
    assert run.status == "finished:failed"
    assert "defense.strategy: found 'flam'; expected" in run.details
    assert flower.records() == before


def test_the_app_bundle_holds_the_package_and_nothing_else(flower: FlowerHome, clone: Path) -> None:
    import subprocess

    from tests.e2e.conftest import BIN

    subprocess.run([BIN / "flwr", "build"], cwd=clone, env=flower.environment, check=True, capture_output=True)
    [bundle] = clone.glob("*.fab")
    names = set(zipfile.ZipFile(bundle).namelist())
    bundle.unlink()
    assert {name.partition("/")[0] for name in names} == {"fedsec", "pyproject.toml", ".info"}
    assert {f"fedsec/{path.name}" for path in (clone / "fedsec").glob("*.py")} <= names


def _small_mnist(folder: Path) -> None:
    """Write a folder in MNIST's layout: squares of ten sizes, so that there is something to learn."""
    rng = np.random.default_rng(0)
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=[str(i) for i in range(10)])}
    )
    folder.mkdir(parents=True)
    for split, count in (("train", 400), ("test", 100)):
        images, labels = [], (np.arange(count) % 10).tolist()
        for label in labels:
            image = rng.integers(0, 60, (28, 28), dtype=np.uint8)
            image[4 : 6 + 2 * label, 4 : 6 + 2 * label] = 220
            images.append(image)
        table = datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)
        table.to_parquet(folder / f"{split}-00000-of-00001.parquet")
