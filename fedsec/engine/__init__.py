"""What carries the messages of a run: Ray through Flower's simulation, or this process."""
