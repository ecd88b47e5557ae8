"""``fedsec data check`` and ``fedsec node check``: what is there, before anything runs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

data_app = typer.Typer(help="Data sets.", no_args_is_help=True)
node_app = typer.Typer(help="Machines that join a federation.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on the last line.")]


@data_app.command("check")
def data_check(
    name: Annotated[str, typer.Argument(help="Data set, folder, or hub id.")],
    as_json: AsJson = False,
) -> None:
    """Load a data set, decode it into the cache if needed, and say what is in it."""
    import numpy as np

    from fedsec.data.datasets import load

    train, test = load(name, "train"), load(name, "test")
    found: dict[str, Any] = {"dataset": name, "cache": str(train.folder), "classes": list(train.classes)}
    for split, part in (("train", train), ("test", test)):
        counts = np.bincount(part.labels, minlength=len(train.classes)).tolist()
        found[split] = {"examples": len(part), "image": list(part.images.shape[1:]), "per_class": counts}
    found |= {"mean": list(train.mean), "std": list(train.std)}
    if as_json:
        print(json.dumps(found))
        return
    for key, value in found.items():
        print(f"{key}: {value}")


@node_app.command("check")
def node_check(
    node_config: Annotated[str, typer.Option(help="As flower-supernode takes it, or a TOML file.")],
    superlink: Annotated[str, typer.Option(metavar="HOST:PORT", help="The server; without it, no network.")] = "",
    root_certificates: Annotated[Path | None, typer.Option(help="Certificate of the server's authority.")] = None,
    key: Annotated[Path | None, typer.Option(help="This node's private key.")] = None,
    run: Annotated[Path | None, typer.Option(help="Run file that the federation is to run.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="The server has no certificate.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check that this machine can join: data, labels, disk, memory, key, certificate, server."""
    from fedsec.node_check.run import check_node

    findings = []
    for found in check_node(node_config, superlink, authority=root_certificates, key=key, run=run, insecure=insecure):
        findings.append(found)
        if not as_json:
            print(f"{'ok    ' if found.ok else 'FAILED'}  {found.check}: {found.text}", flush=True)
    if as_json:
        print(json.dumps([asdict(found) for found in findings]))
    if not all(found.ok for found in findings):
        raise typer.Exit(1)
