"""One recipe class per method, and its YAML files."""
