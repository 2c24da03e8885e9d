"""From detections to people: boxes of classes joined to persons, and persons followed through a video."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torchvision.ops import box_iou

# Boxes that overlap more are one person; the official demo of STEP joins from 0.8 on, which leaves people double.
MERGED_OVERLAP = 0.5
# People who overlap less from one key time to the next are different ones.
FOLLOWED_OVERLAP = 0.1
# So long a person may be out of sight, in seconds.
LONGEST_ABSENCE = 2.0


@dataclass
class Person:
    """One person at a key time.

    Attributes:
        box: `(4,)` xyxy, relative to width and height.
        actions: (class id, score) by descending score, each class once.
        tube: `(T, 4)` boxes in the frames around the key time, or None.
    """

    box: np.ndarray
    actions: list[tuple[int, float]]
    tube: np.ndarray | None = None


def find_people(found: Mapping[str, Any], *, threshold: float = 0.0, overlap: float = MERGED_OVERLAP) -> list[Person]:
    """Join the detections of one key time to people.

    By descending score, a detection takes all later ones that its box overlaps enough; the person's box is the mean
    of theirs (the rule of STEP's demo).

    Args:
        found: of `detect_actions`: `boxes` (N, 4), `scores` (N, C), and `tubes` (N, T, 4) where it has them.
        threshold: classes with a lower score are left out.
        overlap: IoU above which two boxes are one person.

    Returns:
        People by descending best score.
    """
    boxes, scores = np.asarray(found["boxes"], np.float64).reshape(-1, 4), np.asarray(found["scores"], np.float64)
    rows, labels = np.nonzero((scores > 0) & (scores >= threshold))
    values = scores[rows, labels]
    order = np.argsort(-values, kind="stable")
    rows, labels, values = rows[order], labels[order], values[order]
    corners = torch.from_numpy(boxes)
    same = (box_iou(corners, corners) > overlap).numpy()
    np.fill_diagonal(same, val=True)
    people, left = [], np.ones(len(rows), dtype=bool)
    while left.any():
        seed = int(left.argmax())
        taken = np.flatnonzero(left & same[rows[seed], rows])
        left[taken] = False
        actions: dict[int, float] = {}
        for label, score in zip(labels[taken].tolist(), values[taken].tolist(), strict=True):
            actions.setdefault(label, score)
        tube = np.asarray(found["tubes"], np.float64)[rows[taken]].mean(axis=0) if "tubes" in found else None
        people.append(Person(boxes[rows[taken]].mean(axis=0), list(actions.items()), tube))
    return people


@dataclass
class _Track:
    number: int
    last_seen: float
    last_box: np.ndarray
    last_tube: np.ndarray | None
    tube_times: np.ndarray | None


@dataclass
class PersonTracker:
    """Follows people from one key time to the next, by the overlap of their boxes.

    Between two key times the boxes at the end of a person's tube and at the beginning of the next ones are compared,
    where the detector gives tubes; otherwise those of the key times. The pair that overlaps most is matched first.

    Args:
        overlap: least IoU of the same person.
        longest_absence: seconds after which a person who was not seen is forgotten.
    """

    overlap: float = FOLLOWED_OVERLAP
    longest_absence: float = LONGEST_ABSENCE
    _tracks: list[_Track] = field(default_factory=list)
    _num_people: int = 0

    def follow(self, people: Sequence[Person], timestamp: float, tube_times: Any = None) -> list[int]:
        """Number the people of the next key time; who was seen before keeps the number.

        Args:
            people: of this key time.
            timestamp: seconds, later than those before.
            tube_times: `(T,)` seconds of the boxes of tubes.

        Returns:
            Number of each person, from 0 in order of appearance.
        """
        times = None if tube_times is None else np.asarray(tube_times, dtype=np.float64)
        self._tracks = [track for track in self._tracks if timestamp - track.last_seen <= self.longest_absence]
        numbers: list[int | None] = [None] * len(people)
        if self._tracks and people:
            overlaps = np.array(
                [[_overlap(track, person, timestamp, times) for person in people] for track in self._tracks]
            )
            while overlaps.max() >= self.overlap:
                row, column = np.unravel_index(overlaps.argmax(), overlaps.shape)
                numbers[column] = self._tracks[row].number
                overlaps[row], overlaps[:, column] = -1, -1
        for place, person in enumerate(people):
            if numbers[place] is None:
                numbers[place] = self._num_people
                self._num_people += 1
            self._tracks = [track for track in self._tracks if track.number != numbers[place]]
            self._tracks.append(_Track(numbers[place], timestamp, person.box, person.tube, times))
        return numbers


def _overlap(track: _Track, person: Person, timestamp: float, times: np.ndarray | None) -> float:
    """Overlap of a person with where the track was last, in the middle between both key times where tubes reach it."""
    before, after = track.last_box, person.box
    if track.last_tube is not None and person.tube is not None:
        middle = (track.last_seen + timestamp) / 2
        before, after = _box_at(track.last_tube, track.tube_times, middle), _box_at(person.tube, times, middle)
    first, second = (torch.from_numpy(np.asarray(box, dtype=np.float64))[None] for box in (before, after))
    return float(box_iou(first, second)) if (before[2:] > before[:2]).all() else 0.0


def _box_at(tube: np.ndarray, times: np.ndarray, moment: float) -> np.ndarray:
    return np.array([np.interp(moment, times, side) for side in tube.T])
