"""Calling ``fedsec`` in this process, as the shell would."""

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from typing import Any
from unittest import mock

from fedsec import cli


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str


def fedsec(*arguments: object) -> Finished:
    """Run the command line; return exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        mock.patch.object(sys, "argv", ["fedsec", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return Finished(code, out.getvalue(), err.getvalue())


def last_json(text: str) -> Any:
    """Return what stands in the last line."""
    return json.loads(text.splitlines()[-1])
