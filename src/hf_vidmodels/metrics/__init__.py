"""Metrics as plain vectorised functions, each with a thin evaluate.Metric."""
