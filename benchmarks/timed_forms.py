"""What benchmarks of speed share: forms of one computation that take turns."""

import argparse
import statistics
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

Call = Callable[[], Any]


def speed_parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """Give a parser of the options that all of them have; a benchmark may add its own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help="rounds in which every form takes one turn")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--output", type=Path, help="also write the figures to this JSON file")
    return parser


def time_in_turn(calls: Mapping[str, Call], rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Give the seconds of each call in each round; every other round goes backwards, and one before warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for turn in range(rounds):
        for name in list(calls)[:: -1 if turn % 2 else 1]:
            start = clock()
            calls[name]()
            seconds[name].append(clock() - start)
    return seconds


def ratio(fast: Call, plain: Call, rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Time both forms in turn; give medians in seconds, and median, least and most of fast over plain by round."""
    seconds = time_in_turn({"fast": fast, "plain": plain}, rounds, clock)
    ratios = [one / other for one, other in zip(seconds["fast"], seconds["plain"], strict=True)]
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return medians | {"ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


def as_plain(call: Call, plain_form: Callable[[], AbstractContextManager[None]]) -> Call:
    """Give the call inside a context in which the network computes in the plain form."""

    def call_plainly() -> Any:
        with plain_form():
            return call()

    return call_plainly
