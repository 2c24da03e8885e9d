"""The classes of a corpus: how names are read, the order that gives them their ids, and how labels find these.

One rule for folders, tables, JSON and shared data sets: a given list of classes has its own order; otherwise classes
that are all whole numbers are in the order of the numbers, and others are sorted by code point.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ..text_files import read_lines
from .content_checks import name_some

CLASS_FILE = "classes.txt"
# Where classes have ids and no list, their number follows from the largest id; beyond this it is a mistake.
MAX_CLASSES = 100_000
# Spreadsheets write whole numbers as 3.0 where a cell of the column is empty.
_WHOLE_NUMBER = re.compile(r"(-?[0-9]{1,15})(?:\.0+)?")


def class_name(value: Any, where: str) -> str:
    """Give a class as text, as a file names it: text, or a whole number.

    Raises:
        ValueError: it is something else; `where` names the place.
    """
    if isinstance(value, float) and value.is_integer():
        value = str(value)
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise ValueError(f"{where} must be the name of a class, got {value!r}")
    return str(value).strip()


def order_classes(labels: Iterable[str]) -> list[str]:
    """Give the classes that occur in the order of their ids."""
    distinct = set(labels)
    numbers = [_WHOLE_NUMBER.fullmatch(label) for label in distinct]
    if all(numbers):
        return sorted({number[1] for number in numbers}, key=lambda text: (int(text), text))
    return sorted(distinct)


def class_lookup(names: Sequence[str]) -> Callable[[str], int | None]:
    """Give a function from a label to its class id; None for no class.

    A label is a name, or an id where no class is called by a number.
    """
    ids = {name: index for index, name in enumerate(names)}
    has_numbers = any(_WHOLE_NUMBER.fullmatch(name) for name in names)

    def look_up(label: str) -> int | None:
        if label in ids:
            return ids[label]
        number = _WHOLE_NUMBER.fullmatch(label)
        if number is None:
            return None
        if has_numbers:
            return ids.get(number[1])
        return int(number[1]) if 0 <= int(number[1]) < len(names) else None

    return look_up


def read_class_names(root: Path) -> list[str] | None:
    """Read `classes.txt` (one class a line, in the order of the ids), or give None where there is none.

    Raises:
        ValueError: a class stands there twice, or the file is no UTF-8 text.
    """
    path = root / CLASS_FILE
    if not path.is_file():
        return None
    names = [line for _, line in read_lines(path)]
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1] if len(set(names)) < len(names) else []
    if repeated or not names:
        raise ValueError(f"{path} must name each class once, got {name_some(repeated) or 'nothing'}")
    return names
