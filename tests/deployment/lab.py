"""A server and five nodes as hosts of their own on this machine: one is cut off for two rounds, one has a bad line.

``python -m tests.deployment.lab`` does it as root and prints what came of it; ``--remove`` takes away what a killed
lab left behind. docs/how-to/several-hosts-lab.md explains it.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from fedsec.runs.loading import load_run_file
from fedsec.scenario import malicious
from tests.deployment.credentials import make_credentials
from tests.deployment.federation import Deployment, Ended
from tests.deployment.network import Cable, Network, remove_namespaces, why_impossible
from tests.deployment.services import Service

CUT_OFF, SLOW = 2, 4
SLOW_CABLE = Cable(delay=0.1, loss=0.05, seed=7)
"""100 ms each way, so 200 ms from a question to its answer; each packet is lost with 5 %, on the way there and back."""

ROUNDS = 9
RUN_FILE = f"""
[run]
name = "lab"
[data]
dataset = "digits"
[federation]
clients = 5
rounds = {ROUNDS}
node-timeout = 30.0
shortage = "wait"
[attack]
kind = "backdoor"
share = 0.4
[defense]
strategy = "flame"
"""

Tell = Callable[[str], object]


@dataclass(frozen=True)
class Outcome:
    """What came of the lab.

    Attributes:
        ended: the run's end, as Flower tells it.
        rounds: the record's lines.
        pings: echoes from the slow node and from another one to the server.
        logs: what the server and each node wrote, by name.
    """

    ended: Ended
    rounds: list[dict[str, Any]]
    pings: dict[str, dict[str, Any]]
    logs: dict[str, str]


def run_lab(folder: Path, tell: Tell) -> Outcome:
    """Build the hosts, run the federation with both faults, and take everything away."""
    start = time.monotonic()

    def say(text: str) -> None:
        tell(f"{time.monotonic() - start:6.1f} s  {text}")

    file = folder / "lab.toml"
    file.write_text(RUN_FILE)
    cables = {"server": Cable()} | {f"node{n}": SLOW_CABLE if n == SLOW else Cable() for n in range(5)}
    with Network(folder, cables) as network:
        names = ("node0", f"node{SLOW}")
        with ThreadPoolExecutor() as threads:
            pings = dict(zip(names, threads.map(partial(measured, network), names), strict=True))
        for name, found in pings.items():
            say(f"{name} to the server: {found['answered']} of {found['sent']} echoes, {found['median_ms']:.1f} ms")
        server = network.host("server")
        with Deployment(folder / "hosts", make_credentials(folder / "certificates", server.address), server) as hosts:
            start_all(hosts, network, malicious(load_run_file(file)))
            say(f"SuperLink at {hosts.address}, five SuperNodes online")
            run = hosts.start_run(file)
            wait_for_round(hosts, run, 1)
            network.cut(f"node{CUT_OFF}")
            say(f"round 1 is over; node{CUT_OFF}'s cable is pulled out")
            wait_for_round(hosts, run, 2)
            run.wait_for_text("the run goes on without", 300)
            network.mend(f"node{CUT_OFF}")
            say(f"round 2 is over and round 3 has begun without it; node{CUT_OFF}'s cable is back")
            ended = hosts.finish(run)
            say(f"the run is over: {ended.status}")
            logs = {name: service.text() for name, service in hosts.services().items()}
            return Outcome(ended, rounds_of(hosts), pings, logs)


def measured(network: Network, name: str) -> dict[str, Any]:
    """Return what comes back of 200 echoes to the server, once both know where the other one is."""
    network.ping(name, "server", 10)
    return network.ping(name, "server")


def start_all(hosts: Deployment, network: Network, attackers: tuple[int, ...]) -> None:
    """Start the SuperLink and the five nodes, each on its host."""
    hosts.start_superlink()
    for partition in range(5):
        role = "role='attacker'" if partition in attackers else ""
        hosts.add_node(partition, role, host=network.host(f"node{partition}"))
    hosts.wait_for_nodes(5, 120)


def wait_for_round(hosts: Deployment, run: Service, number: int, seconds: float = 300.0) -> None:
    """Wait until round ``number`` is on disk."""
    deadline = time.monotonic() + seconds
    while len(rounds_of(hosts)) <= number:
        if not run.running() or time.monotonic() > deadline:
            raise TimeoutError(f"no round {number}:\n{run.text()[-4000:]}")
        time.sleep(0.1)


def rounds_of(hosts: Deployment) -> list[dict[str, Any]]:
    """Return the lines of the record so far."""
    files = sorted(hosts.runs.rglob("rounds.jsonl"))
    return [json.loads(line) for line in files[-1].read_text().splitlines()] if files else []


def print_rounds(rounds: list[dict[str, Any]]) -> None:
    """Print the record's lines as a table."""
    print("\nround     MA     BA  seconds  clients  dropped")
    for line in rounds:
        dropped = "; ".join(f"{client['node_id']}: {client['reason'].split(' — ')[0]}" for client in line["dropped"])
        numbers = f"{line['round']:5} {line['MA']:6.1f} {line['BA']:6.1f} {line['seconds'].get('total', 0.0):8.1f}"
        print(f"{numbers} {len(line['clients']):8}  {dropped}".rstrip())


def main() -> None:
    """Run the lab, or remove what a killed one left behind."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--remove", action="store_true", help="remove what a killed lab left behind")
    parser.add_argument("--out", type=Path, help="folder for logs and the record; by default a temporary one")
    options = parser.parse_args()
    if reason := why_impossible():
        sys.exit(f"lab: {reason}")
    if options.remove:
        print("\n".join(f"removed {name}" for name in remove_namespaces()) or "nothing was left")
        return
    signal.signal(signal.SIGTERM, _interrupt)
    with tempfile.TemporaryDirectory(prefix="lab") as temporary:
        folder = options.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        outcome = run_lab(folder, lambda text: print(text, flush=True))
    print_rounds(outcome.rounds)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
