"""Command: ``python -m tests.fuzz --cases 100000 [decoder] [configuration]``."""

import argparse
import sys
import time
import warnings

from tests.fuzz.runs import TARGETS, fuzz


def main(arguments: list[str] | None = None) -> None:
    """Run the cases of each target; half of them made up, half of them damaged."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=main.__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], default=[], help="both, unless named")
    parser.add_argument("--cases", type=int, default=1000, help="of each target")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    warnings.simplefilter("error")
    for target in options.targets or TARGETS:
        start = time.perf_counter()
        counts = fuzz(target, options.cases, options.seed)
        print(
            f"{target}: {counts.total()} cases ({counts[True]} accepted, {counts[False]} refused), "
            f"seed {options.seed}, {time.perf_counter() - start:.0f} s, nothing found"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
