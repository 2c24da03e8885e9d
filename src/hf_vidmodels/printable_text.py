"""Text from files and names as terminals and messages may show it: short, and without what steers a terminal."""

import re
from typing import IO, Any

# All control characters but tab and the ends of lines, marks that turn the direction of writing, and bytes of file
# names that are no UTF-8.
_STEERING = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# Of a value that a message shows, in characters.
_LONGEST_VALUE = 80


def cut_text(text: str, length: int) -> str:
    """Give a text of at most `length` characters, of a longer one its beginning and three dots."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def short_value(value: Any) -> str:
    """Write a value of a file for a message, cut where it is long."""
    return cut_text(repr(value), _LONGEST_VALUE)


def printable(text: str) -> str:
    r"""Write steering characters as escapes: `\x1b` for ESC."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


class PrintableStream:
    """Wraps a text stream so that all that is written to it is `printable`."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write `printable(text)`."""
        self._stream.write(printable(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
