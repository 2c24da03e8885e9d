"""Several processes for one command, started by Accelerate's launcher, and launcher files for common machines."""
