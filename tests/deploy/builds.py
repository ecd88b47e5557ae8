"""A Dockerfile without an engine: every RUN is executed, in order, in a tree of its own without network.

What is real: the instructions, their order and arguments, the shell, the users, pip with its resolver, Flower with
everything that it needs, and the package that is built from this project. What is not: the tree at the bottom (see
trees.py) and the packages' indexes, which are made of what is installed here (see wheels.py). In them, what only the
apps need (torch, CUDA's packages, scipy, ...) has its name, version and requirements, and no files: they are gigabytes.
"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.deploy.dockerfiles import Instruction, Stage, expand, read
from tests.deploy.trees import Tree

PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


class BuildError(Exception):
    """A step failed; the message is what it printed."""


@dataclass
class Image:
    """What a stage leaves behind."""

    tree: Tree
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    user: str = "0:0"
    folder: str = "/"
    settings: dict[str, Instruction] = field(default_factory=dict)
    steps: int = 0

    def run(self, command: Sequence[str], bound: Sequence[Path] = ()) -> subprocess.CompletedProcess[str]:
        """Run a command as compose files have it: with the image's user, everything read-only but two folders."""
        places = ["/tmp", "/var/lib/fedsec"]
        return self.tree.run(
            command, self.environment, user=self.user, folder=self.folder, writable=places, bound=bound
        )


class Build:
    """Builds stages when they are asked for, each once."""

    def __init__(self, project: Path, scratch: Path, bottom: Tree, arguments: Mapping[str, str]) -> None:
        self.project, self.scratch, self.bottom = project, scratch, bottom
        self.given = dict(arguments)
        defaults, stages = read(project / "Dockerfile")
        self.globals = {**defaults, **{name: value for name, value in arguments.items() if name in defaults}}
        self.stages = {stage.name: stage for stage in stages}
        self.built: dict[str, Image] = {}

    def image(self, name: str) -> Image:
        """Return the image of a stage."""
        if name not in self.built:
            self.built[name] = self._build(self.stages[name])
        return self.built[name]

    def _build(self, stage: Stage) -> Image:
        if stage.parent in self.stages:
            parent = self.image(stage.parent)
            image = Image(parent.tree, dict(parent.environment), parent.user, parent.folder, dict(parent.settings))
        else:
            image = Image(self.bottom)
        image.tree = image.tree.grown(self.scratch / stage.name)
        arguments: dict[str, str] = {}
        for step in stage.steps:
            self.apply(image, arguments, step)
        return image

    def apply(self, image: Image, arguments: dict[str, str], step: Instruction) -> None:
        """Do one step in an image; a RUN that fails is a :class:`BuildError`."""
        known = {**self.globals, **arguments, **image.environment}
        if step.word == "ARG":
            name, _, default = step.rest.partition("=")
            arguments[name] = self.given.get(name, self.globals.get(name, default.strip('"')))
        elif step.word == "ENV":
            image.environment |= {name: expand(value, known) for name, value in (w.split("=", 1) for w in step.words)}
        elif step.word == "WORKDIR":
            image.folder = expand(step.words[0], known)
            if image.tree.find(image.folder) is None:
                (image.tree.layers[0] / image.folder.lstrip("/")).mkdir(parents=True)
        elif step.word == "USER":
            image.user = step.words[0]
        elif step.word == "RUN":
            image.steps += 1
            environment = {**arguments, **image.environment}
            done = image.tree.run(["/bin/sh", "-c", step.rest], environment, user=image.user, folder=image.folder)
            if done.returncode != 0:
                raise BuildError(f"RUN {step.rest}\n{done.stdout}{done.stderr}")
        elif step.word == "COPY":
            self._copy(image, step)
        else:
            image.settings[step.word] = step

    def _copy(self, image: Image, step: Instruction) -> None:
        *sources, target = step.words
        place = image.tree.layers[0] / (target if target.startswith("/") else f"{image.folder}/{target}").lstrip("/")
        if "from" in step.flags:
            # A folder of another stage is the sum of its layers: from the lowest to the topmost.
            for layer in reversed(self.image(step.flags["from"]).tree.layers):
                if (layer / sources[0].lstrip("/")).is_dir():
                    place.mkdir(parents=True, exist_ok=True)
                    folder = layer / sources[0].lstrip("/")
                    subprocess.run(["cp", "--archive", "--link", "--force", f"{folder}/.", place], check=True)
            return
        for name in sources:
            source = self.project / name
            end = place / source.name if len(sources) > 1 or target.endswith("/") else place
            if source.is_dir():
                shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                end.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, end)
                if "chmod" in step.flags:
                    end.chmod(int(step.flags["chmod"], 8))
