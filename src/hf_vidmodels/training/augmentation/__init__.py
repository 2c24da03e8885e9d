"""Random changes of training clips and batches."""
