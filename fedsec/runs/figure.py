"""A figure file: what a picture shows of the clients of a run, and the published number that belongs to it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from fedsec.runs.checks import check
from fedsec.runs.config import Flat, RunConfig
from fedsec.runs.loading import ConfigError, overridden, parse, read_toml
from fedsec.runs.sections import GANS
from fedsec.runs.values import NAME, NAME_RULE

FigureKind = Literal["samples", "score", "grid"]

IMAGES: dict[FigureKind, int] = {"samples": 16, "score": 5000, "grid": 8}
"""How many images of each client a figure shows, or scores, unless the file says so."""

SCORE_PARTS = 10
"""An Inception Score is a mean over so many parts of the images (``fedsec.metrics.generation.SPLITS``)."""

NOT_SECTIONS = ("title", "figure", "show", "published", "reduced")
SHOW = ("images", "classes", "clients")
PREFIX = "show."


@dataclass(frozen=True, slots=True)
class PublishedScore:
    """A published Inception Score.

    Attributes:
        score: the highest of the training.
        features: whose features it was measured on.
    """

    score: float
    features: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure file.

    Attributes:
        path: the file.
        title: what the figure is called.
        kind: ``"samples"``, images that clients hold; ``"score"``, Inception Score and losses over the training of
            clients' GANs; ``"grid"``, images that they generate.
        config: the run whose clients they are.
        images: how many images of a client are shown (for ``"grid"`` of each class), or scored at a step.
        classes: of which classes, for ``"grid"``; empty is all.
        clients: of which clients; empty is all.
        published: for ``"score"``, where there is one.
        changes: what the reduced setting changes; empty unless it is this one.
        overrides: what was changed over the file besides.
    """

    path: Path
    title: str
    kind: FigureKind
    config: RunConfig
    images: int
    classes: tuple[int, ...] = ()
    clients: tuple[int, ...] = ()
    published: PublishedScore | None = None
    changes: tuple[tuple[str, Any], ...] = ()
    overrides: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """Name of the figure's files."""
        return f"{self.path.stem}{'_reduced' if self.changes else ''}"

    @property
    def shown_clients(self) -> tuple[int, ...]:
        """The clients that it shows."""
        return self.clients or tuple(range(self.config.federation.clients))

    @property
    def note(self) -> str:
        """What a reader must know of a figure that is not as its file has it, "" of any other."""
        kinds = (("Reduced setting", self.changes), ("Changed by --set", self.overrides))
        listed = ((kind, ", ".join(f"{key} = {value}" for key, value in changed)) for kind, changed in kinds)
        return " ".join(f"{kind} ({values})." for kind, values in listed if values)


def is_figure(content: Mapping[str, Any]) -> bool:
    """Tell whether a TOML file is a figure, and no table and no run."""
    return "figure" in content


def load_figure(path: Path, overrides: Flat | None = None, *, reduced: bool = False) -> Figure:
    """Return the figure in a file.

    Args:
        path: the file.
        overrides: values put over it by dotted key, ``show.images`` among them.
        reduced: whether to take its ``[reduced]`` setting.

    Raises:
        ConfigError: the file or an override cannot be used.
    """
    content = read_toml(path)
    smaller = content.get("reduced", {})
    if reduced and not (isinstance(smaller, Mapping) and smaller):
        raise ConfigError(["--reduced: this file has no [reduced] setting"], str(path))
    changes = {**(smaller if reduced else {}), **(overrides or {})}
    content = overridden(content, {key: value for key, value in changes.items() if key.startswith(PREFIX)})
    if problems := list(_problems(content, path.stem)):
        raise ConfigError(problems, str(path))
    base = {key: value for key, value in content.items() if key not in NOT_SECTIONS}
    run = {key: value for key, value in changes.items() if not key.startswith(PREFIX)}
    tables = overridden(base, {"attack.kind": "none"} | run | {"run.name": path.stem})  # who attacks is not to be seen
    config = parse(tables, source=str(path), required=("data.dataset",))
    check(config, source=str(path))
    show, published = content.get("show", {}), content.get("published")
    kind = cast(FigureKind, content["figure"])
    figure = Figure(
        path=path,
        title=f"{content['title']}{' (reduced)' if reduced else ''}",
        kind=kind,
        config=config,
        images=show.get("images", IMAGES[kind]),
        classes=tuple(show.get("classes", ())),
        clients=tuple(show.get("clients", ())),
        published=PublishedScore(float(published["score"]), published["features"]) if published else None,
        changes=tuple(smaller.items()) if reduced else (),
        overrides=tuple((overrides or {}).items()),
    )
    if problems := list(_problems_with_run(figure)):
        raise ConfigError(problems, str(path))
    return figure


def _problems(content: Mapping[str, Any], name: str) -> Iterator[str]:
    if not NAME.fullmatch(name):
        yield f"the file's name: found {name!r}; expected {NAME_RULE}; rename the file"
    if not isinstance(content.get("title"), str):
        yield f"title: found {content.get('title')!r}; expected the figure's title as a text"
    kind = content.get("figure")
    if kind not in tuple(IMAGES):
        yield f"figure: found {kind!r}; expected one of {', '.join(map(repr, IMAGES))}"
    if "axes" in content:
        yield "axes: found in a figure; expected one run"
    yield from _show_problems(content.get("show", {}), kind)
    published = content.get("published")
    if published is not None and not _is_score(published):
        yield f"published: found {published!r}; expected a score and the features that it is of"
    if published is not None and kind != "score":
        yield f"published: found with figure = {kind!r}; expected figure = 'score'"


def _show_problems(show: Any, kind: Any) -> Iterator[str]:
    if not isinstance(show, Mapping):
        yield f"show: found {show!r}; expected a table with some of {', '.join(SHOW)}"
        return
    for key in show:
        if key not in SHOW:
            yield f"show.{key}: unknown key; expected some of {', '.join(SHOW)}"
    fewest, why = (SCORE_PARTS, ", the parts of an Inception Score") if kind == "score" else (1, "")
    images = show.get("images", fewest)
    if not _is_number(images) or images < fewest:
        yield f"show.images: found {images!r}; expected how many, {fewest} or more{why}"
    for key in ("classes", "clients"):
        numbers = show.get(key, [])
        if not isinstance(numbers, list) or not all(_is_number(number) and number >= 0 for number in numbers):
            yield f"show.{key}: found {numbers!r}; expected a list of their numbers"
    if show.get("classes") and kind != "grid":
        yield f"show.classes: found with figure = {kind!r}; expected figure = 'grid'"


def _problems_with_run(figure: Figure) -> Iterator[str]:
    balance, clients = figure.config.data.balance, figure.config.federation.clients
    if figure.kind != "samples" and balance not in GANS:
        yield f"data.balance: found {balance!r} with figure = {figure.kind!r}; expected {' or '.join(GANS)}"
    unknown = [client for client in figure.clients if client >= clients]
    if unknown:
        yield f"show.clients: found {unknown[0]}; expected 0 to {clients - 1}, clients of the run"


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_score(published: Any) -> bool:
    if not isinstance(published, Mapping) or set(published) != {"score", "features"}:
        return False
    return isinstance(published["score"], int | float) and isinstance(published["features"], str)
