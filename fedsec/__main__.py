"""``fedsec`` and ``python -m fedsec``."""

import os


def main() -> None:
    """Run the command line, without Flower's telemetry unless the user has asked for it."""
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # Flower reads it when it is imported
    from fedsec import cli

    cli.main()


if __name__ == "__main__":
    main()
