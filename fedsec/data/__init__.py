"""Data sets, decoded once and shared by all processes, and who holds which part of them."""
