"""What happens to a federation when some of its clients attack it, and what helps."""

__version__ = "0.1.0"
