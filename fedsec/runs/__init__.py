"""A run's configuration, record and checkpoint."""
