"""What is measured, against whom: one command each, ratios within one run."""
