"""What the documentation names is there: files, headings, commands, options, keys of the configuration, strategies."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from click import Command, Group

from fedsec.cli import app
from fedsec.runs.config import known_keys
from fedsec.strategies import STRATEGIES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md")] + sorted(ROOT.glob("docs/**/*.md"))
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

FENCE = re.compile(r"^\s*```(?P<language>\w*)\n(?P<code>.*?)^\s*```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)
COMMAND = re.compile(r"(?:^|\s)(?:fedsec|python -m fedsec) +([a-z].*)")
SECTIONS = sorted({key.split(".")[0] for key in known_keys()})
KEY = re.compile(rf"(?<![\w./-])(?:{'|'.join(SECTIONS)})\.[a-z][a-z0-9-]*(?![\w(/-])")
FILE_ENDINGS = (".py", ".toml", ".json", ".jsonl", ".md", ".npz")


@dataclass(frozen=True)
class Page:
    """A page of the documentation: what is written in it, and where it lies."""

    text: str
    folder: Path

    @property
    def prose(self) -> str:
        """Return the text without its blocks of code."""
        return FENCE.sub("", self.text)

    def links(self) -> Iterator[str]:
        """Return where the page's links lead, but for those into the net."""
        found = LINK.findall(SPAN.sub("", self.prose))
        return (target for target in found if "://" not in target and not target.startswith("mailto:"))

    def anchors(self) -> set[str]:
        """Return the names under which the page's headings are found, as GitHub makes them."""
        return {
            re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
            for heading in HEADING.findall(self.prose)
        }

    def commands(self) -> Iterator[str]:
        """Return what is given to ``fedsec``: in blocks of code for a shell, and in spans that begin with it."""
        lines = [line for block in FENCE.finditer(self.text) for line in _shell_lines(block)]
        lines += [span for span in SPAN.findall(self.prose) if span.startswith("fedsec ")]
        for line in lines:
            if found := COMMAND.search(line.split(" # ")[0]):
                yield found.group(1)

    def keys(self) -> Iterator[str]:
        """Return what looks like a key of the configuration, in spans and blocks of code."""
        for code in [*SPAN.findall(self.prose), *(block["code"] for block in FENCE.finditer(self.text))]:
            yield from (key for key in KEY.findall(code) if not _is_file(key, code))


def broken_links(page: Page) -> list[str]:
    """Return the links of a page that lead nowhere."""
    broken = []
    for target in page.links():
        path, _, anchor = target.partition("#")
        file = (page.folder / path).resolve() if path else None
        if file is not None and not file.exists():
            broken.append(target)
        elif anchor:
            there = page if file is None else Page(file.read_text(), file.parent)
            if anchor not in there.anchors():
                broken.append(target)
    return broken


def unknown_commands(page: Page) -> list[str]:
    """Return the commands and options of a page that ``fedsec`` does not have."""
    return [problem for line in page.commands() if (problem := _problem_of(line))]


def unknown_keys(page: Page) -> list[str]:
    """Return the keys of a page that no configuration may hold."""
    return sorted(set(page.keys()) - set(known_keys()))


def _shell_lines(block: re.Match[str]) -> list[str]:
    if block["language"] not in ("bash", "console", "sh", "text"):
        return []
    lines = block["code"].replace("\\\n", " ").splitlines()
    if block["language"] in ("console", "text"):  # what is typed there begins with a prompt; the rest is output
        return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return lines


def _is_file(key: str, code: str) -> bool:
    return any(key.endswith(ending) or key + ending in code for ending in FILE_ENDINGS)


def _problem_of(line: str) -> str | None:
    command: Command = typer.main.get_command(app)
    words = [word for word in shlex.split(line, comments=True) if word not in ("|", ">")]
    if "|" in line and " --" not in line:
        return None  # an overview: fedsec run | reproduce | report
    while isinstance(command, Group):
        word = words.pop(0) if words else ""
        if word not in command.commands:
            return f"fedsec {line}: no command {word!r}"
        command = command.commands[word]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]
    return f"fedsec {line}: no option {unknown[0]}" if unknown else None


def page(name: str) -> Page:
    return Page((ROOT / name).read_text(), (ROOT / name).parent)


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    assert broken_links(page(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_command_and_option_is_there(name: str) -> None:
    assert unknown_commands(page(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_key_of_the_configuration_is_one(name: str) -> None:
    assert unknown_keys(page(name)) == []


def test_every_strategy_is_in_the_threat_model_with_its_assumption_and_its_source() -> None:
    rows = [line.split(" | ") for line in page("docs/threat-model.md").text.splitlines() if line.startswith("| `")]
    told = {
        span for row in rows if len(row) == 4 and all(cell.strip(" |") for cell in row) for span in SPAN.findall(row[0])
    }
    assert set(STRATEGIES) <= told


def test_the_pages_name_enough_for_these_tests_to_mean_something() -> None:
    pages = [page(name) for name in NAMES]
    assert sum(len(list(one.links())) for one in pages) > 100
    assert sum(len(list(one.commands())) for one in pages) > 15
    assert sum(len(list(one.keys())) for one in pages) > 50


@pytest.mark.parametrize(
    ("find", "text", "problem"),
    [
        (broken_links, "[a](no/such/file.md)", "no/such/file.md"),
        (broken_links, "[a](README.md#no-such-heading)", "README.md#no-such-heading"),
        (broken_links, "[a](#three-uses)", "#three-uses"),
        (unknown_commands, "`fedsec frobnicate`", "no command 'frobnicate'"),
        (unknown_commands, "```bash\nfedsec data chekc mnist\n```", "no command 'chekc'"),
        (unknown_commands, "```bash\nfedsec run a.toml \\\n    --engin ray\n```", "no option --engin"),
        (unknown_commands, "`fedsec data check mnist --jsn`", "no option --jsn"),
        (unknown_keys, "`federation.client` is wrong", "federation.client"),
        (unknown_keys, "```bash\nflwr run . --run-config \"defense.strategi='flame'\"\n```", "defense.strategi"),
    ],
)
def test_what_is_not_there_is_found(find: object, text: str, problem: str) -> None:
    assert callable(find)
    [found] = find(Page(text, ROOT))
    assert problem in found


@pytest.mark.parametrize(
    ("find", "text"),
    [
        (broken_links, "[a](README.md#three-uses), [b](https://example.org/no), `[c](no.md)`\n```\n[d](no.md)\n```"),
        (broken_links, "# A `b`, and *c*: d\n[a](#a-b-and-c-d)"),
        (unknown_commands, "`fedsec run a.toml --set defense.clip=0.3 --json`, and fedsec measures"),
        (unknown_keys, "`data.q = 0.5`, `runs/config.py`, `fedsec.data.datasets`, `metrics.py`"),
    ],
)
def test_what_is_there_is_no_problem(find: object, text: str) -> None:
    assert callable(find)
    assert find(Page(text, ROOT)) == []
