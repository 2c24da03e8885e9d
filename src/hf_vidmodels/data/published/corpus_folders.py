"""The door of all published corpora: the folder that one is read from."""

from pathlib import Path


def corpus_folder(name: str, data_dir: Path | None) -> Path:
    """Give the folder of a corpus as an absolute path.

    Args:
        name: of the corpus, for messages.
        data_dir: as the user gave it.

    Raises:
        ValueError: it was not given.
        FileNotFoundError: there is no such folder.
    """
    if data_dir is None:
        raise ValueError(f"{name} is read from a folder; give its data_dir")
    root = Path(data_dir).expanduser().absolute()
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root} with {name}")
    return root
