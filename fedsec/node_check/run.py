"""All checks of a node, in the order in which a person would mend what they find."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from flwr.common.config import parse_config_args

from fedsec.node_check import machine, network
from fedsec.node_check.finding import Finding
from fedsec.node_settings import NodeSettings, NodeSettingsError, read_node_config, suspicion
from fedsec.runs.checks import check
from fedsec.runs.config import RunConfig
from fedsec.runs.loading import load_run_file, parse


def check_node(
    node_config: str,
    superlink: str,
    *,
    authority: Path | None,
    key: Path | None,
    run: Path | None,
    insecure: bool = False,
) -> Iterator[Finding]:
    """Yield what each check finds. A check that depends on one that failed is left out.

    Args:
        node_config: as it is given to ``flower-supernode --node-config``.
        superlink: ``host:port`` of the SuperLink; "" leaves the network out.
        authority: file of the authority's certificate.
        key: file of the node's private key.
        run: run file, where it is known; the node's role and its part of the data depend on it.
        insecure: whether the SuperLink has no certificate.

    Raises:
        ConfigError: the run file cannot be used.
    """
    try:
        node = _settings(node_config)
    except NodeSettingsError as error:
        yield Finding("node-config", False, str(error))
    else:
        yield Finding("node-config", True, node_config)
        yield from _machine(node, run)
    if superlink:
        yield from _network(superlink, authority, key, insecure)


def _settings(node_config: str) -> NodeSettings:
    try:
        found = parse_config_args([node_config])
    except Exception as error:  # Flower's own error is one of its command line
        raise NodeSettingsError(str(getattr(error, "message", error))) from None
    if misspelt := [problem for key in found if (problem := suspicion(key))]:
        raise NodeSettingsError(misspelt[0])
    node = read_node_config(found)
    return replace(node, role=node.role or "honest")


def _machine(node: NodeSettings, run: Path | None) -> Iterator[Finding]:
    config = load_run_file(run) if run else _any_run(node)
    check(config, source=str(run or ""))
    role = machine.check_role(config, node)
    yield role
    if not role.ok:
        return
    findings, held = machine.check_data(config, node)
    yield from findings
    if held is not None:
        yield from machine.check_space(config, node, held)


def _any_run(node: NodeSettings) -> RunConfig:
    """Return a run that has this node's partition and lets it be what it agrees to be."""
    dataset, partition = machine.dataset_for(node)
    attacks = node.role == "attacker"
    tables: dict[str, Any] = {
        "data": {"dataset": dataset, "partition": partition},
        "federation": {"clients": 2 * node.partition + 2},
        "attack": {"kind": "backdoor", "clients": str(node.partition)} if attacks else {"kind": "none"},
    }
    return parse(tables)


def _network(superlink: str, authority: Path | None, key: Path | None, insecure: bool) -> Iterator[Finding]:
    address = network.parse_address(superlink)
    if address is None:
        yield Finding("server", False, f"found {superlink!r}; expected host:port, such as server.example.org:8000")
        return
    reach = network.check_reach(address)
    yield reach
    private, trusted = None, reach.ok
    if not insecure:
        findings = [_missing("authority", "--root-certificates")]
        if authority is not None:
            findings = [network.check_authority(authority)]
            if findings[0].ok and reach.ok:
                findings.append(network.check_certificate(address, authority))
        yield from findings
        trusted = reach.ok and all(finding.ok for finding in findings)
    if key is None:
        if not insecure:
            yield _missing("key", "--key")
        return
    found, private = network.check_key(key)
    yield found
    if private is not None and trusted:
        yield from network.check_registration(address, None if insecure else authority, private)


def _missing(check: str, option: str) -> Finding:
    return Finding(check, False, f"not given; expected {option} FILE, or --insecure for a server without certificate")
