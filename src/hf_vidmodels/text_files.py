"""The door through which text and JSON of users come in: encodings that name themselves, errors that name the file.

UTF-8 is read with and without its mark, UTF-16 and UTF-32 where they begin with theirs.
"""

import codecs
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

# The mark of UTF-32 begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Of the names of entries that stand twice, so many are told.
_NUM_NAMED = 5


def encoding_of(path: str | os.PathLike[str]) -> str:
    """Give the encoding that a text file names by its first bytes; `"utf-8-sig"` where it names none.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(4)
    return next((encoding for mark, encoding in _MARKS.items() if head.startswith(mark)), "utf-8-sig")


def encoding_error(path: str | os.PathLike[str], reason: object) -> ValueError:
    """Give the error of a file that is no text in the encoding it should have."""
    return ValueError(f"{os.fspath(path)} is not UTF-8 text ({reason}); save it as UTF-8")


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a text file; line ends stay as they are.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is text of another encoding, or none.
    """
    encoding = encoding_of(path)
    try:
        text = Path(path).read_bytes().decode(encoding)
    except UnicodeDecodeError as error:
        raise encoding_error(path, error) from error
    if "\0" in text:
        raise encoding_error(path, "it has zero bytes")
    return text


def read_lines(path: str | os.PathLike[str]) -> list[tuple[int, str]]:
    """Read the lines of a list, each with its number from 1 and without blanks around it; empty ones are left out.

    Raises:
        FileNotFoundError, ValueError: as `read_text`.
    """
    lines = read_text(path).splitlines()
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


def parse_json(text: str, where: str) -> Any:
    """Read JSON.

    Args:
        text: one JSON value and nothing after it.
        where: file and place in it, for the error.

    Raises:
        ValueError: it is no JSON, nested too deeply, or has one name twice in an object.
    """
    try:
        return json.loads(text, object_pairs_hook=_object_of)
    except RecursionError as error:
        raise ValueError(f"{where} is not valid JSON (it is nested too deeply)") from error
    except _RepeatedNames as error:
        raise ValueError(f"{where} has {error}; merge or remove them") from error
    except ValueError as error:
        raise ValueError(f"{where} is not valid JSON ({error})") from error


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as `read_text` and `parse_json`; names the file.
    """
    return parse_json(read_text(path), os.fspath(path))


class _RepeatedNames(ValueError):
    """An object has a name twice, of which JSON would keep the last."""


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        more = f" and {len(repeated) - _NUM_NAMED} more" if len(repeated) > _NUM_NAMED else ""
        names = ", ".join(repeated[:_NUM_NAMED])
        raise _RepeatedNames(f"these entries more than once: {names}{more}")
    return content
