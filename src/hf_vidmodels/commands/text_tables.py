"""Results as lines of text in columns, and inputs that failed, the same way for every command."""

from collections.abc import Mapping, Sequence
from typing import Any


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print lines of text in columns."""
    if not rows:
        return
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, ["-" * width for width in widths], *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def class_rows(name: str, found: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Give the lines of the printed table for one input: its best classes."""
    return [
        (name if place == 0 else "", answer["label"], f"{answer['score']:.3f}") for place, answer in enumerate(found)
    ]


def report_failures(failures: Mapping[str, str], num_inputs: int, sentence: str) -> None:
    """Print each input that failed with its reason, and end with an error when there is any.

    Args:
        failures: reasons by input, one line each.
        num_inputs: how many inputs there were.
        sentence: what happened to them, such as `"pictures could not be read"`.

    Raises:
        ValueError: when an input failed; names all.
    """
    for name, reason in failures.items():
        print(f"failed: {name}: {reason}")
    if failures:
        raise ValueError(f"{len(failures)} of {num_inputs} {sentence}: {', '.join(failures)}")


def one_line(error: Exception) -> str:
    """Give the message of an error without line breaks."""
    return " ".join(str(error).split())
