"""Nothing that comes from outside is executed: no pickle, no evaluated text, neither in the code nor in a run.

torch's files are read as tensors or not at all: ``torch.load`` is allowed with ``weights_only=True`` in plain sight.

Two exceptions are not ours. On the engines ``ray`` and ``cohort`` Ray pickles what it hands from one process of this
machine to another. It carries our own classes, and nothing that a node of a deployment sent. And numba
keeps what it compiled beside the package, or in the user's folder, and unpickles that: who can write there can write
the package's own ``__pycache__``. So compiled code is loaded before the watch begins.
"""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
FILES = sorted(path for folder in ("fedsec", "benchmarks") for path in (PROJECT / folder).rglob("*.py"))

MODULES = {
    "pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle", "yaml", "code",
    "codeop",
}  # fmt: skip
"""Modules that run what they read, or may."""

BUILT_IN = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {
    "torch": {"load", "save", "hub", "package", "jit"},
    "pandas": {"read_pickle", "to_pickle", "eval"},
    "pd": {"read_pickle", "to_pickle", "eval"},
    "np": {"fromregex", "DataSource"},
}
PICKLING_METHODS = {"to_pickle", "tofile", "read_pickle"}


def offences(source: str) -> Iterator[str]:
    """Yield what a file does that could run what it reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ([node.module] if node.module.partition(".")[0] in MODULES else [])
            taken = ATTRIBUTES.get(node.module.partition(".")[0], set()) | (
                {"load"} if node.module == "numpy" else set()
            )
            yield from (f"{node.module}.{name.name}" for name in node.names if name.name in taken)
        elif isinstance(node, ast.Call):
            yield from offences_of_call(node)


def offences_of_call(call: ast.Call) -> Iterator[str]:
    function = call.func
    if isinstance(function, ast.Name) and function.id in BUILT_IN:
        yield f"{function.id}()"
    if not isinstance(function, ast.Attribute):
        return
    owner = function.value.id if isinstance(function.value, ast.Name) else ""
    if owner == "torch" and function.attr == "load" and _is_given(call, "weights_only", True):
        return
    if function.attr in ATTRIBUTES.get(owner, ()) or function.attr in PICKLING_METHODS:
        yield f"{owner}.{function.attr}()"
    if owner in ("np", "numpy") and function.attr in ("load", "save"):
        said = {keyword.arg: keyword.value for keyword in call.keywords}.get("allow_pickle")
        if function.attr == "load" and not (isinstance(said, ast.Constant) and said.value is False):
            yield "np.load() without allow_pickle=False"
        if isinstance(said, ast.Constant) and said.value is not False:
            yield "np.save() with allow_pickle"
    if any(keyword.arg is None and owner in ("np", "numpy") and function.attr == "load" for keyword in call.keywords):
        yield "np.load() with keywords that cannot be seen"


def _is_given(call: ast.Call, keyword: str, value: object) -> bool:
    said = {one.arg: one.value for one in call.keywords}
    constant = said.get(keyword)
    return None not in said and isinstance(constant, ast.Constant) and constant.value is value


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_no_file_can_run_what_it_reads(path: Path) -> None:
    assert list(offences(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import loads", "import yaml", "import joblib as j", "torch.load(f)",
        "torch.load(f, weights_only=False)", "torch.load(f, weights_only=flag)", "torch.load(f, **options)",
        "torch.load(f, weights_only=1)", "torch.load(f, weights_only=True, **options)",
        "from torch import load", "from numpy import load", "np.load(f)", "np.load(f, allow_pickle=True)",
        "np.load(f, allow_pickle=flag)", "np.load(f, **options)", "eval(text)", "exec(text)", "__import__(name)",
        "np.save(f, a, allow_pickle=True)", "pd.read_pickle(f)", "frame.to_pickle(f)", "torch.save(model, f)",
    ],
)  # fmt: skip
def test_the_check_sees_what_it_looks_for(source: str) -> None:
    assert list(offences(source)) != []


def test_tensors_alone_may_be_read_from_a_file_of_torch() -> None:
    assert list(offences("torch.load(f, map_location='cpu', weights_only=True)")) == []


WATCHED = """
import json, sys
from pathlib import Path

import fedsec.cli, fedsec.engine.run, fedsec.report.page, fedsec.report.figures  # what libraries unpickle when loaded
from fedsec.data.datasets import load

found = []

def load_compiled_code(images, labels):
    import torch
    from fedsec.models.classifiers import build_classifier
    from fedsec.training.batches import Normalisation
    from fedsec.training.classifier import TrainingSettings
    from fedsec.training.cohort import Member, train_cohort
    from fedsec.training.grouped import GroupedModel

    model = build_classifier("lenet5", 1, 28, 10)
    member = Member([t.numpy() for t in model.state_dict().values()], images[:9], labels[:9], torch.Generator())
    pace = TrainingSettings(1, 4, 0.1)
    train_cohort(GroupedModel(model), [member], Normalisation((0.5,), (0.5,)), pace, torch.device("cpu"))

def watch(event, arguments):
    if event == "pickle.find_class":
        found.append(".".join(map(str, arguments)))

data = load("digits", "train")
load_compiled_code(data.images, data.labels)
sys.addaudithook(watch)
if sys.argv[1] == "control":
    import pickle
    pickle.loads(pickle.dumps(Path("x")))
else:
    from fedsec.__main__ import main
    for arguments in json.loads(sys.argv[2]):
        for summary in Path("runs").rglob("summary.json") if "--resume" in arguments else ():
            summary.unlink()  # as if the run had been killed before its end
        sys.argv = ["fedsec", *arguments]
        try:
            main()
        except SystemExit as end:
            if end.code:
                raise
print(json.dumps(found))
"""

RUN_FILE = """
[run]
name = "watched"
[data]
dataset = "digits"
[federation]
clients = 4
rounds = 2
local-epochs = 1
[attack]
kind = "backdoor"
share = 0.5
[defense]
strategy = "median"
"""


def watched(*arguments: str, folder: Path) -> list[str]:
    """Return the names of all classes and functions that a process looked up to unpickle something."""
    environment = os.environ | {
        "PYTHONPATH": str(PROJECT),
        "FEDSEC_RUNS": str(folder / "runs"),
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *arguments], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_run_its_resumption_and_its_report_unpickle_nothing(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(RUN_FILE)
    run = ["run", str(file), "--engine", "local", "--quiet"]
    commands = [run, [*run, "--resume"], ["report", str(tmp_path / "runs" / "watched")]]
    assert watched("run", json.dumps(commands), folder=tmp_path) == []


def test_the_watch_sees_a_pickle(tmp_path: Path) -> None:
    assert watched("control", folder=tmp_path) != []
