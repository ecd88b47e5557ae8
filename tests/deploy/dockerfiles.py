"""Reading a Dockerfile: the instructions that ours has, and an error for every other."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

KNOWN = {"ARG", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "RUN", "STOPSIGNAL", "USER", "WORKDIR"}


@dataclass(frozen=True)
class Instruction:
    """One instruction: its word and what follows."""

    word: str
    rest: str

    @property
    def flags(self) -> dict[str, str]:
        """The ``--name=value`` at the beginning."""
        return dict(flag[2:].split("=", 1) for flag in re.match(r"(--\S+\s+)*", self.rest)[0].split())

    @property
    def words(self) -> list[str]:
        """What follows the flags, in JSON's form or by words."""
        text = re.sub(r"^(--\S+\s+)*", "", self.rest)
        return list(json.loads(text)) if text.startswith("[") else shlex.split(text)


@dataclass
class Stage:
    """One stage: the image or stage that it begins with, and its instructions."""

    name: str
    parent: str
    steps: list[Instruction] = field(default_factory=list)


def read(file: Path) -> tuple[dict[str, str], list[Stage]]:
    """Return the arguments before the first stage with their defaults, and the stages in order."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for instruction in _instructions(file.read_text()):
        if instruction.word == "FROM":
            parent, _, name = instruction.rest.partition(" AS ")
            stages.append(Stage(name, expand(parent, arguments)))
        elif not stages and instruction.word == "ARG":
            name, _, default = instruction.rest.partition("=")
            arguments[name] = default
        elif instruction.word in KNOWN:
            stages[-1].steps.append(instruction)
        else:
            raise ValueError(f"{instruction.word}: this reader does not know it")
    return arguments, stages


def expand(text: str, values: Mapping[str, str]) -> str:
    """Put values where ``${NAME}`` stands."""
    return re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], text)


def _instructions(text: str) -> Iterator[Instruction]:
    # Comments go first: one may stand between the lines of an instruction.
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", "").splitlines():
        word, _, rest = line.strip().partition(" ")
        yield Instruction(word, rest.strip())
