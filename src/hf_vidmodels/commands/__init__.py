"""What the commands do, one module for each command and task; `hf-vidmodels` and `scripts/` are doors to them."""
