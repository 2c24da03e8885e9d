"""What the scripts do, one module for each command and task; `scripts/` only reads the command line."""
