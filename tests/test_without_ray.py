"""Where Ray is not installed everything else works, and the engines that need it say so before anything starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
sys.modules["ray"] = None
import fedsec
names = [module.name for module in pkgutil.walk_packages(fedsec.__path__, "fedsec.")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""

RUN = """
import sys
sys.modules["ray"] = None
from fedsec import cli
sys.argv = ["fedsec", *sys.argv[1:]]
cli.main()
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a process of its own."""
    command = [sys.executable, "-c", code, *arguments]
    environment = dict(os.environ) | {"PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run(command, capture_output=True, text=True, timeout=550, env=environment, check=False)


def test_every_module_can_be_imported() -> None:
    done = python(IMPORT_EVERYTHING)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


def test_the_local_engine_runs(runs: Path) -> None:
    small = {"rounds": 1, "local-epochs": 1, "batch-size": 64}
    settings = [part for key, value in small.items() for part in ("--set", f"federation.{key}={value}")]
    done = python(RUN, "run", "--engine", "local", "--quiet", "--json", *settings)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["final"]["round"] == 1
    assert len(list(runs.glob("*/*/summary.json"))) == 1


@pytest.mark.parametrize("engine", ["ray", "cohort"])
def test_an_engine_on_ray_is_refused_in_one_line_and_no_run_is_begun(runs: Path, engine: str) -> None:
    done = python(RUN, "run", "--engine", engine)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"fedsec: --engine: found '{engine}', and Ray is not installed; "
        "expected 'local', or Ray: pip install 'fedsec[simulation]'\n"
    )
    assert not runs.exists()
