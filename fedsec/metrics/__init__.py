"""What is measured, as functions of predictions and verdicts."""
