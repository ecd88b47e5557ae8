"""The Dockerfile's steps run, one after the other, and what they leave behind is what it should be."""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import trees, wheels
from tests.deploy.builds import Build, BuildError
from tests.deploy.dockerfiles import read

PROJECT = Path(__file__).parents[2]
TARGETS = {
    "superlink": "flower-superlink",
    "supernode": "flower-supernode",
    "superexec": "flower-superexec",
    "superexec-gpu": "flower-superexec",
}
TORCH = ("torch", "torchvision")
INDEXES = {"PACKAGE_INDEX": "file:///mnt/index", "TORCH_INDEX": "file:///mnt/cpu"}
MEMORY_NEEDED = 4 << 30
TOOLS = "gcc cc c++ ld as make pip pip3"


def test_hadolint_finds_nothing() -> None:
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([program, "--no-color", PROJECT / "Dockerfile"], capture_output=True, text=True)
    assert done.stdout + done.stderr == ""


def test_the_python_image_is_named_by_its_digest() -> None:
    arguments, stages = read(PROJECT / "Dockerfile")
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}", arguments["PYTHON_IMAGE"])
    names = {stage.name for stage in stages}
    assert {stage.parent for stage in stages} <= names | {arguments["PYTHON_IMAGE"]}


def test_the_label_has_the_version_of_the_project() -> None:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    assert f'org.opencontainers.image.version="{version}"' in (PROJECT / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("images")
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > MEMORY_NEEDED:
        folder = Path(tempfile.mkdtemp(dir=memory))  # tens of thousands of files, written and removed
    if lack := trees.missing(folder):
        shutil.rmtree(folder)
        pytest.skip(f"trees of their own need root, mount namespaces and overlayfs: {lack}")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def build(scratch: Path) -> Build:
    """The builds' own index, with Flower's packages as they are and all others without files; PyTorch's for CPUs."""
    here = wheels.installed()
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    whole = wheels.needed(["flwr", "hatchling"])
    for name in wheels.needed(project["dependencies"]) | whole:
        if name in whole:
            wheels.pack(scratch / "index", here[name])
        else:
            wheels.stand_in(scratch / "index", here[name])
    for name in TORCH:
        wheels.stand_in(scratch / "cpu", here[name], version=f"{here[name].version}+cpu", without=wheels.CUDA)
    bottom = trees.Tree([trees.slim_python(scratch / "slim")], (scratch / "index", scratch / "cpu"))
    return Build(PROJECT, scratch / "stages", bottom, INDEXES)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_every_step_runs_and_the_process_starts(build: Build, target: str) -> None:
    image = build.image(target)
    [program] = image.settings["ENTRYPOINT"].words
    assert program == TARGETS[target]
    assert image.user == "10001:10001"
    done = image.run([program, "--version"])
    assert "Flower version: 1." in done.stdout, done.stderr
    done = image.run(["sh", "-c", f"id -u; touch /opt/fedsec/x /etc/x; touch /var/lib/fedsec/x; command -v {TOOLS}"])
    assert done.stdout == "10001\n"
    assert done.stderr.count("Read-only file system") == 2


@pytest.mark.slow
def test_no_step_is_left_out(build: Build) -> None:
    for target in TARGETS:
        build.image(target)
    assert set(build.built) == {stage.name for stage in build.stages.values()}
    steps = sum(image.steps for image in build.built.values())
    assert steps == sum(line.startswith("RUN ") for line in (PROJECT / "Dockerfile").read_text().splitlines())


@pytest.mark.slow
def test_only_the_gpu_image_has_cuda_packages(build: Build) -> None:
    listing = ["sh", "-c", "ls /opt/fedsec/lib/python3*/site-packages"]
    found = {target: build.image(target).run(listing).stdout.split() for target in TARGETS}
    with_cuda = {target for target, names in found.items() if any(map(wheels.CUDA.match, names))}
    with_torch = {target for target, names in found.items() if any(name.startswith("torch-") for name in names)}
    assert with_cuda == {"superexec-gpu"}
    assert with_torch == {"superexec", "superexec-gpu"}


@pytest.mark.slow
def test_the_cpu_image_refuses_cuda_packages(build: Build) -> None:
    step = build.stages["apps-cpu"].steps[-1]
    with pytest.raises(BuildError, match=r"is TORCH_INDEX an index of CPU wheels\? Found: .*nvidia"):
        build.apply(build.image("apps-gpu"), {}, step)


@pytest.mark.slow
def test_what_is_missing_is_named(build: Build, scratch: Path) -> None:
    without = Build(PROJECT, scratch / "without", build.bottom, {"PACKAGE_INDEX": INDEXES["PACKAGE_INDEX"]})
    without.built["others"] = build.image("others")
    with pytest.raises(BuildError, match="TORCH_INDEX is missing"):
        without.image("superexec")
    unpinned = Build(PROJECT, scratch / "unpinned", build.bottom, INDEXES | {"PYTHON_IMAGE": "python:3.11-slim"})
    with pytest.raises(BuildError, match=r"found 'python:3\.11-slim'; expected an image with its digest"):
        unpinned.image("base")


@pytest.mark.slow
def test_a_federation_runs_in_the_read_only_image(build: Build) -> None:
    """What has no files in the image comes from this machine, behind all that the image has itself."""
    here = Path(sysconfig.get_path("purelib"))
    start = f"import sys; sys.path.append('/mnt/{here.name}'); from fedsec.__main__ import main; sys.exit(main())"
    options = ["run", "--engine", "local", "--quiet", "--json"]
    options += [word for key in ("rounds=1", "clients=5", "local-epochs=1") for word in ("--set", f"federation.{key}")]
    done = build.image("superexec").run(["python", "-c", start, *options], bound=[here])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["final"]["round"] == 1
