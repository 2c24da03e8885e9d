"""One evaluator a task, which training and the evaluate command share."""
