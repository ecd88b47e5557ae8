"""What a run leaves behind: its folder, one line a round, and a summary."""

import contextlib
import hashlib
import json
import math
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from numpy.typing import NDArray

from fedsec.durable import remove_partial_files, sync_folder, write_atomically
from fedsec.runs.checkpoint import CheckpointError
from fedsec.runs.config import RunConfig, flatten, nested
from fedsec.runs.filling import FillingRecord, filling_from
from fedsec.runs.identity import completed, identity
from fedsec.runs.loading import ConfigError, parse, read_toml
from fedsec.runs.rounds import RoundRecord


class RecordError(CheckpointError):
    """A file of a run's record is damaged; the message names it and the line, and says what would do."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run, ``runs/<name>/<id>/``."""

    path: Path

    @classmethod
    def create(cls, config: RunConfig, path: Path | None = None) -> "RunFolder":
        """Make the folder of a new run, with the configuration in it.

        Args:
            config: the run's configuration.
            path: the folder; by default a new one below :func:`runs_folder`, named by time.

        Raises:
            ConfigError: the folder cannot be made or written to.
        """
        given = {key: value for key, value in flatten(config).items() if value != "" and key != "run.resume"}
        try:
            if path is None:
                stamp = time.strftime("%Y%m%d-%H%M%S")
                path = runs_folder(config) / config.run.name / f"{stamp}-{secrets.token_hex(2)}"
            path.mkdir(parents=True, exist_ok=True)
            write_atomically(path / "config.toml", lambda file: tomli_w.dump(nested(given), file))
        except (OSError, RuntimeError, ValueError) as error:  # the last two: a path that the system cannot read
            if path is not None:
                with contextlib.suppress(OSError):
                    path.rmdir()  # which leaves a folder that holds anything
            raise ConfigError([_unusable(config, path, error)]) from None
        return cls(path.absolute())

    @property
    def name(self) -> str:
        """Name of the run among all runs: that of its folder, as clients keep their states under it."""
        return self.path.name

    @property
    def checkpoint(self) -> Path:
        """File of the checkpoint."""
        return self.path / "checkpoint" / "latest.safetensors"

    def config(self) -> RunConfig:
        """Return the configuration that the run was started with; a key that came later is as if it had been there."""
        path = self.path / "config.toml"
        return parse(completed(read_toml(path)), source=str(path))

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """Keep what the run ran on, and what was drawn before its first round."""
        self._write_json("environment.json", environment)

    def environment(self) -> dict[str, Any]:
        """Return what :meth:`write_environment` kept."""
        return self._read_json("environment.json")

    def write_samples(self, **images: NDArray[np.uint8]) -> None:
        """Keep a few images for the report's pictures."""
        write_atomically(
            self.path / "samples.npz",
            lambda file: np.savez(file, **images),  # type: ignore[arg-type]
        )

    def append_round(self, record: RoundRecord) -> None:
        """Add one round to ``rounds.jsonl`` and make it durable."""
        self._append("rounds.jsonl", asdict(record))

    def rounds(self) -> list[dict[str, Any]]:
        """Return the rounds that are on disk; a last line that was cut short by a crash is left out.

        Raises:
            RecordError: a whole line is damaged.
        """
        return self._lines("rounds.jsonl")

    def append_filling(self, record: FillingRecord) -> None:
        """Add what came of one client's filling of its classes to ``filling.jsonl`` and make it durable."""
        self._append("filling.jsonl", record.line())

    def fillings(self) -> dict[int, FillingRecord]:
        """Return what came of each client's filling of its classes, by partition; of those that are done with it.

        Raises:
            RecordError: a whole line is damaged.
        """
        found = {}
        for number, line in enumerate(self._lines("filling.jsonl"), start=1):
            try:
                found[int(line["client"])] = filling_from(line, int(line["client"]))
            except (KeyError, TypeError, ValueError) as error:
                place = f"{self.path / 'filling.jsonl'}, line {number}"
                raise RecordError(f"{place}: damaged ({error}); {self._remedy('filling.jsonl')}") from None
        return found

    def keep_fillings(self, held: Mapping[int, Sequence[int]]) -> dict[int, FillingRecord]:
        """Return :meth:`fillings`; forget a last line that was cut short, and those of clients whose data have changed.

        Args:
            held: how many images of each class clients hold now, by partition; empty for one that does not say.
        """
        found = {
            client: record
            for client, record in self.fillings().items()
            if tuple(held.get(client, ())) in ((), record.before)
        }
        if found:
            content = "".join(json.dumps(record.line()) + "\n" for record in found.values()).encode()
            write_atomically(self.path / "filling.jsonl", lambda file: file.write(content))
        else:
            (self.path / "filling.jsonl").unlink(missing_ok=True)
        return found

    def keep_rounds(self, last: int) -> None:
        """Forget the rounds after ``last``: their model did not reach the checkpoint, so they are done again."""
        kept = [json.dumps(record) for record in self.rounds() if record["round"] <= last]
        content = "".join(line + "\n" for line in kept).encode()
        write_atomically(self.path / "rounds.jsonl", lambda file: file.write(content))

    def start_over(self) -> None:
        """Forget everything but the configuration: without a checkpoint the run begins anew."""
        write_atomically(self.path / "rounds.jsonl", lambda file: None)
        (self.path / "environment.json").unlink(missing_ok=True)

    def is_begun(self) -> bool:
        """Tell whether a process has come so far as to record a round, be it the one before any training."""
        return (self.path / "rounds.jsonl").exists()

    def remove_partial_files(self) -> None:
        """Remove what a killed process left half written. Only the process that holds the run's lock may."""
        remove_partial_files(self.path, but="config.toml")  # which is written before there is a lock
        remove_partial_files(self.checkpoint.parent)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Mark the run as finished."""
        self._write_json("summary.json", summary)

    def summary(self) -> dict[str, Any] | None:
        """Return the summary of a finished run, ``None`` while it is not.

        Raises:
            RecordError: it is damaged.
        """
        return self._read_json("summary.json") if (self.path / "summary.json").exists() else None

    def _append(self, name: str, content: Mapping[str, Any]) -> None:
        line = json.dumps(_finite(content), allow_nan=False) + "\n"
        with (self.path / name).open("ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.path)

    def _lines(self, name: str) -> list[dict[str, Any]]:
        try:
            lines = (self.path / name).read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        return [self._parsed(line, name, number) for number, line in enumerate(lines[:-1], start=1)]

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        text = json.dumps(_finite(content), indent=1, allow_nan=False)
        write_atomically(self.path / name, lambda file: file.write(text.encode()))

    def _read_json(self, name: str) -> dict[str, Any]:
        return self._parsed((self.path / name).read_bytes(), name)

    def _parsed(self, text: bytes, name: str, line: int | None = None) -> dict[str, Any]:
        place = f"{self.path / name}" if line is None else f"{self.path / name}, line {line}"
        try:
            content = json.loads(text)
        except ValueError as error:
            raise RecordError(f"{place}: damaged ({error}); {self._remedy(name)}") from None
        if not isinstance(content, dict):
            raise RecordError(f"{place}: damaged (no JSON object); {self._remedy(name)}")
        return content

    def _remedy(self, name: str) -> str:
        if name in ("summary.json", "filling.jsonl"):
            return f"delete it and give 'fedsec run --resume {self.path}', which writes it again"
        return f"bring it back from a copy, or delete {self.path} and do the run again"


def runs_folder(config: RunConfig) -> Path:
    """Return the folder of all runs: ``run.output``, else ``$FEDSEC_RUNS``, else ``runs`` in the current folder."""
    return Path(config.run.output or os.environ.get("FEDSEC_RUNS") or "runs").expanduser().absolute()


def unfinished_run(config: RunConfig) -> RunFolder | None:
    """Return the newest unfinished run whose numbers this configuration decides, or ``None``.

    Raises:
        RecordError: whether it is finished cannot be read.
    """
    for folder in sorted((runs_folder(config) / config.run.name).glob("*/"), reverse=True):
        run = RunFolder(folder.absolute())
        try:
            same = identity(run.config()) == identity(config)
        except ConfigError:
            continue
        if same and run.summary() is None:
            return run
    return None


def config_hash(config: RunConfig) -> str:
    """Return a short hash of everything in the configuration that decides the run's numbers."""
    return hashlib.sha256(json.dumps(identity(config), sort_keys=True).encode()).hexdigest()[:12]


def _unusable(config: RunConfig, path: Path | None, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    if config.run.output:
        found = f"found {config.run.output!r}"
    elif os.environ.get("FEDSEC_RUNS"):
        found = f"not given, found FEDSEC_RUNS = {os.environ['FEDSEC_RUNS']!r}"
    else:
        found = "not given, so runs/ in the current folder was tried"
    where = f" to hold {path}" if path else ""
    return f"run.output: {found}, which cannot be written to{where} ({reason}); expected a folder that can"


def _finite(value: Any) -> Any:
    """Return ``value`` with NaN and infinity as ``None``, which JSON has no other word for."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
