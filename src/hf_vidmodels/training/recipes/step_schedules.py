"""STEP's courses of the learning rate (official code 59da38a): a rise, then cosines that begin anew, or falls."""

import math
from collections.abc import Sequence

# Share of the peak at which the rise begins.
FIRST_SHARE = 0.1


def rising_share(iteration: int, warmup: int) -> float:
    """Give the share of the peak in iteration n, counted from 1, of a rise over `warmup` iterations."""
    done = iteration / warmup
    return FIRST_SHARE * (1 - done) + done


def cosine_share(
    iteration: int, ends: Sequence[int], warmup: int, min_share: float = 0.0, cycle_decay: float = 1.0
) -> float:
    """Give the share of the peak of a rise and cosines down to `min_share`.

    Args:
        iteration: n, counted from 1.
        ends: iterations in which a cosine ends and the next begins, ascending; the first begins with the end of the
            rise.
        warmup: iterations of the rise.
        min_share: share at the end of each.
        cycle_decay: share of the peak at which a cosine begins, of that of the one before.
    """
    if iteration < warmup:
        return rising_share(iteration, warmup)
    cycle = next((number for number, end in enumerate(ends) if iteration < end), len(ends) - 1)
    begin = ends[cycle - 1] if cycle else warmup
    done = min(1.0, (iteration - begin) / max(ends[cycle] - begin, 1))
    return min_share + (cycle_decay**cycle - min_share) * (1 + math.cos(math.pi * done)) / 2


def stepped_share(iteration: int, ends: Sequence[int], warmup: int, decay: float) -> float:
    """Give the share of the peak of a rise and falls by the factor `decay` in the iterations `ends`."""
    if iteration < warmup:
        return rising_share(iteration, warmup)
    return decay ** sum(iteration >= end for end in ends)
