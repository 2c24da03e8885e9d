"""hf_vidmodels."""
