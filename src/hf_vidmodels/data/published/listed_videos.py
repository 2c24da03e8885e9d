"""What the lists of a published corpus of videos say, whichever form they have."""

from dataclasses import dataclass, field

# What the files of each split may be called, without suffix.
SPLIT_FILES = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}


@dataclass(frozen=True)
class ListedVideo:
    """One line of a list.

    Attributes:
        path: the video, absolute.
        label: class id, None where the list has none.
        name: what the list calls it.
    """

    path: str
    label: int | None
    name: str


@dataclass
class ListedCorpus:
    """What the lists of a corpus say.

    Attributes:
        class_names: by class id.
        splits: videos by split.
        folders: for each split where its videos were looked for, for messages.
    """

    class_names: list[str]
    splits: dict[str, list[ListedVideo]] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
