"""What corpora call their splits, and what `datasets` calls them."""

UNLABELLED_SPLIT = "unlabelled"
# In the order in which splits are listed.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "unlabelled": UNLABELLED_SPLIT,
    "unlabeled": UNLABELLED_SPLIT,
}


def split_named(name: str) -> str | None:
    """Give the split that a whole name says, whatever its case; None where it names none."""
    return SPLIT_NAMES.get(name.lower())
