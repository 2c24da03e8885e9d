"""Large JSON files read bit by bit, so that no more than one item of their lists is in memory."""

import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..printable_text import cut_text
from ..text_files import encoding_error, encoding_of

_CHUNK = 2**20
# Of a value that an error shows, in characters.
_SHOWN_LENGTH = 40
_AFTER_VALUES = tuple(",]}: \t\r\n")
_DECODER = json.JSONDecoder()


def stream_json_object(path: str | os.PathLike[str], streamed: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Give the members of the JSON object in a file, in its order.

    Args:
        path: the file, in UTF-8 or another encoding that its first bytes name.
        streamed: members whose value is a long list; for these an iterator over its items is given, which ends when
            the next member is asked for.

    Yields:
        Key and value of each member.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no JSON object, or something else than a list under a key of `streamed`, or something
            after the object; says where.
    """
    with _open(path) as text:
        text.take("{", "a JSON object")
        names: set[str] = set()
        while names or text.next_character() != "}":
            key = text.value()
            if not isinstance(key, str):
                raise text.error(f"expected the name of a member, got {key!r}")
            if key in names:
                raise text.error(f"it has the member {key!r} twice; keep one")
            names.add(key)
            text.take(":", f"a colon after {key!r}")
            if key in streamed:
                items = _stream_list(text, repr(key))
                yield key, items
                for _ in items:
                    pass
            else:
                yield key, text.value()
            if text.next_character() == "}":
                break
            text.take(",", f"a comma after the member {key!r}")
        text.take("}", "the end of the object")
        text.require_end()


def stream_json_list(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Give the items of the JSON list in a file, in its order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no JSON list, or something after it; says where.
    """
    with _open(path) as text:
        yield from _stream_list(text, "the file")
        text.require_end()


@contextmanager
def _open(path: str | os.PathLike[str]) -> "Iterator[_Text]":
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with path.open(encoding=encoding_of(path)) as file:
        yield _Text(file, path)


def _stream_list(text: "_Text", where: str) -> Iterator[Any]:
    if text.next_character() not in ("[", ""):
        shown = cut_text(json.dumps(text.value()), _SHOWN_LENGTH)
        raise ValueError(f"{text.path}: expected a list in {where}, got {shown}")
    text.take("[", f"a list in {where}")
    if text.next_character() == "]":
        text.take("]", "")
        return
    while True:
        yield text.value()
        if text.next_character() == "]":
            text.take("]", "")
            return
        text.take(",", f"a comma between the items of {where}")


class _Text:
    """The part of a file that is being read, and a place in it."""

    def __init__(self, file: IO[str], path: Path) -> None:
        self._file = file
        self.path = path
        self._buffer = ""
        self._place = 0
        self._dropped = 0
        self._is_whole = False

    def next_character(self) -> str:
        """Move to the next character that is no white space and give it; empty at the end of the file."""
        while True:
            while self._place < len(self._buffer):
                if not self._buffer[self._place].isspace():
                    return self._buffer[self._place]
                self._place += 1
            if self._is_whole:
                return ""
            self._read_more()

    def take(self, character: str, what: str) -> None:
        """Move behind the next character, which must be this one; `what` names it in an error."""
        found = self.next_character()
        if found != character:
            raise self.error(f"expected {what}, got {found!r}" if found else f"it ends where {what} is expected")
        self._place += 1

    def require_end(self) -> None:
        """Refuse what follows the value that the file holds."""
        if self.next_character():
            raise self.error("something follows the end of the value; a file holds one")

    def value(self) -> Any:
        """Read the value that begins at the next character."""
        self.next_character()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._place)
            except json.JSONDecodeError as error:
                if self._is_whole:
                    raise self.error(error.msg) from error
            except RecursionError as error:
                raise self.error("a value is nested too deeply") from error
            except ValueError as error:
                raise self.error(str(error)) from error
            else:
                # A number that the buffer cuts reads as a shorter one: `1.` of `1.5` as 1, with the point left over.
                if self._is_whole or self._buffer[end : end + 1] in _AFTER_VALUES:
                    self._place = end
                    return value
            self._read_more()

    def error(self, what: str) -> ValueError:
        return ValueError(f"{self.path} is not valid JSON at character {self._dropped + self._place}: {what}")

    def _read_more(self) -> None:
        """Read on, at least as much again as is unread, so that long values take few attempts."""
        rest = self._buffer[self._place :]
        self._dropped += self._place
        try:
            more = self._file.read(max(_CHUNK, len(rest)))
        except UnicodeDecodeError as error:
            raise encoding_error(self.path, error) from error
        self._buffer, self._place, self._is_whole = rest + more, 0, not more
