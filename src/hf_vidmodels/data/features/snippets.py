"""Cutting a stream of frames into snippets, the pieces of video that one feature row describes.

Snippet k holds the frames `k * stride` to `k * stride + length - 1`. The end of a video follows one rule: when the
frames left for the snippet after the last full one are at least half a snippet, it is filled up by repeating the last
frame, otherwise they are dropped. A video shorter than one snippet is one snippet, filled up.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def iterate_snippets(frames: Iterable[np.ndarray], length: int, stride: int) -> Iterator[list[np.ndarray]]:
    """Cut frames into snippets, holding at most one snippet in memory.

    Args:
        frames: pictures (H, W, 3) in order.
        length: frames of a snippet.
        stride: frames from the start of one snippet to the start of the next.

    Yields:
        Lists of `length` frames.

    Raises:
        ValueError: when `length` or `stride` is not positive.
    """
    if length < 1 or stride < 1:
        raise ValueError(f"length and stride of snippets must be at least 1 frame, got {length} and {stride}")
    return _cut(iter(frames), length, stride)


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Group items into lists of `size`; the last may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def sample_positions(length: int, count: int) -> list[int]:
    """Choose `count` of `length` frames, evenly spread, each from the middle of its share; more repeat frames."""
    return [int((position + 0.5) * length / count) for position in range(count)]


def _cut(frames: Iterator[np.ndarray], length: int, stride: int) -> Iterator[list[np.ndarray]]:
    window: deque[np.ndarray] = deque(islice(frames, length), maxlen=length)
    if not window:
        return
    is_first = True
    while len(window) == length:
        yield list(window)
        is_first = False
        kept = list(window)[stride:]
        skipped = sum(1 for _ in islice(frames, max(0, stride - length)))
        if skipped < stride - length:
            return
        window = deque(kept + list(islice(frames, length - len(kept))), maxlen=length)
    if window and (is_first or 2 * len(window) >= length):
        yield list(window) + [window[-1]] * (length - len(window))
