"""The account of videos that a run could not read: which, how many, and when there are too many to go on."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

from .content_checks import name_some

DEFAULT_SHARE = 0.01


def short_names(names: Sequence[str], all_names: Sequence[str]) -> list[str]:
    """Leave out of files' names the folders that all of a corpus share, which are nobody's business but their owner's.

    Args:
        names: paths, or what else tells videos apart, which stays as it is.
        all_names: those of the whole corpus.
    """
    if not all(os.path.isabs(name) for name in all_names):
        return list(names)
    common = os.path.commonpath([os.path.dirname(name) for name in all_names]) if all_names else ""
    return [os.path.relpath(name, common) for name in names]


class UnreadableVideos:
    """Collects the names of unreadable videos of one data set.

    Each process has its own; what others found is taken in by `add`, which counts a video once however often it is
    reported. The names belong into a run's checkpoint, so that a resumed run ends with the whole list.

    Args:
        num_videos: size of the data set.
        max_share: of the data set, in [0, 1], that may be unreadable; at least one video may where it is above 0.

    Raises:
        ValueError: a share outside [0, 1].
    """

    def __init__(self, num_videos: int, max_share: float = DEFAULT_SHARE) -> None:
        if not 0 <= max_share <= 1:
            raise ValueError(f"max_unreadable_share must be in [0, 1], got {max_share}")
        self.num_videos = num_videos
        self.max_share = max_share
        self._names: set[str] = set()

    @property
    def names(self) -> list[str]:
        """The unreadable videos, sorted."""
        return sorted(self._names)

    def add(self, names: Iterable[str]) -> None:
        """Take note of unreadable videos.

        Raises:
            ValueError: they are now more than may be.
        """
        self._names.update(names)
        count = len(self._names)
        if count > max(self.max_share * self.num_videos, float(self.max_share > 0)):
            raise ValueError(
                f"{count} of {self.num_videos} videos cannot be read ({name_some(self.names)}), more than "
                f"max_unreadable_share={self.max_share:g} allows; repair or remove them, or allow a larger share"
            )

    def summary(self) -> str:
        """Say in a sentence how many there are, and name some."""
        if not self._names:
            return f"all of {self.num_videos} videos could be read as far as they were needed"
        return f"{len(self._names)} of {self.num_videos} videos could not be read: {name_some(self.names)}"

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"names": self.names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._names = set(state["names"])
