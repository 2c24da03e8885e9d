"""transformers pipelines for the tasks that have none."""
