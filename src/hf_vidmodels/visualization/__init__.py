"""Pictures and pages of predictions."""
