"""What a round of the federated GAN costs by the side of its images: seconds, memory, bytes on the wire and on disk.

``python -m benchmarks.federated_gan [--models NAME ...] [--sizes 32 64 128] [--images 256] [--batch 32] [--out DIR]``

Four clients, one after the other in one process, hold ``--images`` images each; what a client with a thousand takes is
computed from the seconds of a step: of the processor, on one thread, so that other work beside it does not count.
Each size has a process of its own, so that its memory is its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import environment, peak_mib, print_rows, with_malloc_settings, write_results

CLIENTS, BATCH, THOUSAND = 4, 32, 1000
MODELS: dict[str, tuple[str, dict[str, int]]] = {
    "dcgan": ("dcgan", {"width": 32, "critic-width": 32}),
    "stylegan2": ("stylegan2", {"channel-base": 2048, "channel-max": 128, "critic-width": 32}),
    "stylegan2-reference": ("stylegan2", {}),
}
"""Models by the name of their rows; the last one has the sizes of the reference code."""

MIB = 2**20
HEAD = (
    "generator, loss, side",
    "parameters",
    "step",
    "round of 4 x 1,000 images",
    "memory of the process",
    "sent to and by a client",
    "kept by a client",
)


def main() -> None:
    """Measure every size in a process of its own and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=["dcgan", "stylegan2"])
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--images", type=int, default=256, help="of each client, a multiple of --batch")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        model, loss, side = options.only.split(",")
        print(json.dumps(_round(model, loss, int(side), options.images, options.batch)))
        return
    if options.images % options.batch or not options.images:
        parser.error(f"--images: found {options.images}; expected a multiple of --batch, {options.batch}")
    with_malloc_settings()
    found: dict[str, dict[str, float]] = {}
    for model in options.models:
        for loss in ("min-max", "wgan-gp"):
            for size in options.sizes:
                case = f"{model},{loss},{size}"
                found[case] = _apart(case, options.images, options.batch)
    rows = [HEAD, *(_row(case, one, options.batch) for case, one in found.items())]
    print(f"\n{environment()}\n")
    print_rows(rows)
    write_results(
        options.out, "federated_gan", [rows], {"images": options.images, "batch": options.batch, "found": found}
    )


def _row(case: str, one: dict[str, float], batch: int) -> tuple[str, ...]:
    batches = THOUSAND // batch
    return (
        case.replace(",", ", "),
        f"{one['parameters']:,.0f}",
        f"{1000 * one['step']:.0f} ms",
        f"{CLIENTS * batches * one['step']:.1f} s",
        f"{one['peak_mib']:.0f} MiB",
        f"{one['sent'] / MIB:.2f} MiB each",
        f"{one['kept'] / MIB:.2f} MiB",
    )


def _apart(case: str, images: int, batch: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.federated_gan", "--only", case]
    command += ["--images", str(images), "--batch", str(batch)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _round(model: str, loss: str, side: int, images: int, batch: int) -> dict[str, float]:
    """Return what a round of four clients takes; the first round, in which everything is made, is not counted."""
    from fedsec.clients import FedGanClient

    with tempfile.TemporaryDirectory() as folder:
        clients = [
            FedGanClient(_task(model, loss, (3, side, side), images, batch, client, Path(folder)))
            for client in range(CLIENTS)
        ]
        sent = clients[0].get_parameters({})
        for client in clients:
            client.fit(sent, {"server-round": 1, "run": "benchmark"})
        start = time.process_time()
        for client in clients:
            client.fit(sent, {"server-round": 2, "run": "benchmark"})
        seconds = time.process_time() - start
        kept = next(Path(folder).rglob("000002.safetensors")).stat().st_size
    return {
        "parameters": sum(parameter.numel() for parameter in clients[0].task.generator.parameters()),
        "step": seconds / (CLIENTS * (images // batch)),
        "peak_mib": peak_mib() or float("nan"),
        "sent": sum(array.nbytes for array in sent),
        "kept": kept,
    }


def _task(model: str, loss: str, shape: tuple[int, int, int], images: int, batch: int, client: int, state: Path) -> Any:
    import torch

    from fedsec.client_app import choose_device
    from fedsec.clients import GanTask
    from fedsec.networks import discriminator, shared_network
    from fedsec.runs.loading import parse
    from fedsec.training.federated_gan import FederatedGanSettings

    name, options = MODELS[model]
    config = parse({"model": {"name": name}, "fedgan": {"loss": loss, **options}})
    drawn = np.random.default_rng(client).integers(0, 256, (images, *shape), dtype=np.uint8)
    settings = FederatedGanSettings(loss=config.fedgan.loss, batch_size=batch)
    torch.set_num_threads(1)
    return GanTask(
        shared_network(config, shape, 1),
        lambda: discriminator(config, shape),
        config.fedgan.latent,
        drawn,
        settings,
        seed=0,
        partition=client,
        device=choose_device("auto"),
        state=state,
    )


if __name__ == "__main__":
    main()
