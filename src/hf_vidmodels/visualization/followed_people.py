"""People followed through a film as they are shown: where each is in any frame, and when each does what."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .action_frames import annotate_frame, person_colour

# People who were last seen longer ago than this many key times apart are not drawn between.
LONGEST_GAP = 2.5


@dataclass
class FollowedPerson:
    """One person through a film.

    Attributes:
        number: from 0 in order of appearance.
        key_times: `(K,)` seconds at which the person was found, ascending.
        actions: of each key time, pairs of name and score, best first.
        times: `(P,)` seconds of the known boxes, ascending.
        boxes: `(P, 4)` xyxy relative to width and height.
    """

    number: int
    key_times: np.ndarray
    actions: list[list[tuple[str, float]]]
    times: np.ndarray
    boxes: np.ndarray


def follow_people(key_frames: Iterable[Mapping[str, Any]]) -> list[FollowedPerson]:
    """Collect each person's boxes and actions.

    Args:
        key_frames: `timestamp` in seconds, ascending, and `people`: dicts of `person` (number), `box` (xyxy relative),
            `actions` (pairs of name and score) and, where the detector gives tubes, `tube` (T, 4) and `tube_times`.
    """
    found: dict[int, dict[str, list[Any]]] = {}
    for key_frame in key_frames:
        for person in key_frame["people"]:
            one = found.setdefault(person["person"], {"key_times": [], "actions": [], "times": [], "boxes": []})
            one["key_times"].append(key_frame["timestamp"])
            one["actions"].append([tuple(action) for action in person["actions"]])
            has_tube = person.get("tube") is not None
            one["times"] += [float(time) for time in person["tube_times"]] if has_tube else [key_frame["timestamp"]]
            one["boxes"] += list(person["tube"]) if has_tube else [person["box"]]
    return [_followed(number, **one) for number, one in sorted(found.items())]


def _followed(number: int, key_times: list[float], actions: list[Any], times: list[float], boxes: list[Any]) -> Any:
    # Where tubes of two key times overlap, boxes of one time are averaged.
    known, places = np.unique(np.round(times, 3), return_inverse=True)
    counts = np.bincount(places)
    sides = np.asarray(boxes, dtype=np.float64).T
    means = np.stack([np.bincount(places, weights=side) / counts for side in sides], axis=1)
    return FollowedPerson(number, np.array(key_times), actions, known, means)


def people_shown_at(people: Sequence[FollowedPerson], time: float, spacing: float) -> list[dict[str, Any]]:
    """Give who is seen at a time of a film, as `annotate_frame` takes it.

    Args:
        people: all people of the film.
        time: seconds.
        spacing: seconds from one key time to the next; before the first and after the last key time of a person half
            of it is shown, and boxes in between are interpolated.
    """
    shown = []
    for person in people:
        nearest = int(np.abs(person.key_times - time).argmin())
        before, after = person.key_times[person.key_times <= time], person.key_times[person.key_times > time]
        between = len(before) and len(after) and after[0] - before[-1] <= LONGEST_GAP * spacing
        if between or abs(person.key_times[nearest] - time) <= spacing / 2:
            box = [float(np.interp(time, person.times, side)) for side in person.boxes.T]
            shown.append({"person": person.number, "box": box, "actions": person.actions[nearest]})
    return shown


def annotated_frames(
    frames: Iterable[np.ndarray], times: Iterable[float], people: Sequence[FollowedPerson], spacing: float
) -> Iterator[np.ndarray]:
    """Draw the people of a film on its frames, one after the other.

    Args:
        frames: uint8 (H, W, 3).
        times: seconds of each.
        people: all people of the film.
        spacing: seconds from one key time to the next.
    """
    for frame, time in zip(frames, times, strict=False):
        yield annotate_frame(frame, people_shown_at(people, time, spacing))


def action_spans(people: Sequence[FollowedPerson], spacing: float) -> dict[str, Any]:
    """Give when each person does what, as a timeline takes it: one row for each person and action.

    Key times of one action that follow each other make one span, half a spacing longer on both sides, whose score is
    their mean.

    Args:
        people: all people of the film.
        spacing: seconds from one key time to the next.

    Returns:
        `names` and `colours` of the rows, and of each span `segments` (N, 2) in seconds, `scores` (N,) and `labels`
        (N,), its row.
    """
    names, colours, segments, scores, labels = [], [], [], [], []
    for person in people:
        doing: dict[str, list[tuple[float, float]]] = {}
        for time, actions in zip(person.key_times.tolist(), person.actions, strict=True):
            for action, score in actions:
                doing.setdefault(action, []).append((time, score))
        for action, moments in sorted(doing.items(), key=lambda one: -sum(score for _, score in one[1])):
            moments_of_spans = np.split(
                np.array(moments), np.flatnonzero(np.diff([time for time, _ in moments]) > 1.5 * spacing) + 1
            )
            for span in moments_of_spans:
                segments.append((span[0, 0] - spacing / 2, span[-1, 0] + spacing / 2))
                scores.append(span[:, 1].mean())
                labels.append(len(names))
            names.append(f"person {person.number + 1}: {action}")
            colours.append(person_colour(person.number))
    return {
        "names": names,
        "colours": colours,
        "segments": np.reshape(segments, (-1, 2)),
        "scores": np.array(scores, dtype=np.float64),
        "labels": np.array(labels, dtype=np.int64),
    }
