"""What a round of the federated GAN costs by the side of its images: seconds, memory, bytes on the wire and on disk.

``python -m benchmarks.federated_gan [--sizes 32 64 128] [--images 256] [--out FOLDER]``

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
MODELS = {
    "dcgan": {"width": 32, "critic-width": 32},
    "stylegan2": {"channel-base": 2048, "channel-max": 128, "critic-width": 32},
}
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
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        model, loss, side = options.only.split(",")
        print(json.dumps(_round(model, loss, int(side), options.images)))
        return
    with_malloc_settings()
    found: dict[str, dict[str, float]] = {}
    for model in MODELS:
        for loss in ("min-max", "wgan-gp"):
            for size in options.sizes:
                case = f"{model},{loss},{size}"
                found[case] = _apart(case, options.images)
    rows = [HEAD, *(_row(case, one) for case, one in found.items())]
    print(f"\n{environment()}\n")
    print_rows(rows)
    write_results(options.out, "federated_gan", [rows], {"images": options.images, "found": found})


def _row(case: str, one: dict[str, float]) -> tuple[str, ...]:
    batches = THOUSAND // BATCH
    return (
        case.replace(",", ", "),
        f"{one['parameters']:,.0f}",
        f"{1000 * one['step']:.0f} ms",
        f"{CLIENTS * batches * one['step']:.1f} s",
        f"{one['peak_mib']:.0f} MiB",
        f"{one['sent'] / MIB:.2f} MiB each",
        f"{one['kept'] / MIB:.2f} MiB",
    )


def _apart(case: str, images: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.federated_gan", "--only", case, "--images", str(images)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _round(model: str, loss: str, side: int, images: int) -> dict[str, float]:
    """Return what a round of four clients takes; the first round, in which everything is made, is not counted."""
    from fedsec.clients import FedGanClient

    with tempfile.TemporaryDirectory() as folder:
        clients = [FedGanClient(_task(model, loss, side, images, client, Path(folder))) for client in range(CLIENTS)]
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
        "step": seconds / (CLIENTS * (images // BATCH)),
        "peak_mib": peak_mib() or float("nan"),
        "sent": sum(array.nbytes for array in sent),
        "kept": kept,
    }


def _task(model: str, loss: str, side: int, images: int, client: int, state: Path) -> Any:
    import torch

    from fedsec.client_app import choose_device
    from fedsec.clients import GanTask
    from fedsec.networks import discriminator, shared_network
    from fedsec.runs.loading import parse
    from fedsec.training.federated_gan import FederatedGanSettings

    config = parse({"model": {"name": model}, "fedgan": {"loss": loss, **MODELS[model]}})
    shape = (3, side, side)
    drawn = np.random.default_rng(client).integers(0, 256, (images, *shape), dtype=np.uint8)
    settings = FederatedGanSettings(loss=config.fedgan.loss, batch_size=BATCH)
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
