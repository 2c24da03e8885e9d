"""From what a recipe file or a command line says to values of the declared types, by one rule for both.

Text is read as YAML where a field does not take text itself: `--crf_zeta 1e-2` and `crf_zeta: 1e-2` mean the same.
"""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml

from .strict_yaml import load_yaml

# How the types that files can hold are named in errors.
EXPECTED = {int: "a whole number", float: "a number", bool: "true or false", str: "text", list: "a list"}
EXPECTED |= {tuple: EXPECTED[list], dict: "mappings of fields to values", Literal: "one of its words"}
# YAML 1.1 takes these for text.
EXPONENT = re.compile(r"[-+]?\d+\.?\d*[eE][-+]?\d+")


class Words(tuple[str, ...]):
    """What stands behind an option of a command line: mostly one word, several for a list, none for a switch."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(" ".join(self))


def as_type(value: Any, declared: Any) -> Any:
    """Return a value of YAML or of a command line as the declared type.

    Whole numbers pass for floats, `none` for fields that may be absent, an option without words for true.

    Raises:
        TypeError: with the name of what is expected, when the value is something else.
    """
    kinds = _kinds(declared)
    if isinstance(value, Words):
        value = _join_words(value, kinds)
    if NoneType in get_args(declared) and (value is None or (isinstance(value, str) and value.lower() == "none")):
        return None
    if isinstance(value, str) and not {str, Literal} & kinds.keys():
        value = parse_text(value)
    fitting = kinds.get(type(value))
    options = kinds.values() if fitting is None else [fitting]
    for option in options:
        try:
            return _as_option(value, option)
        except TypeError as error:
            reason = error
    if len(options) == 1:
        raise reason
    expected = [EXPECTED[kind] for kind in kinds if kind is not int or float not in kinds]
    raise TypeError(" or ".join(dict.fromkeys(expected)))


def parse_text(text: str) -> Any:
    """Read text as YAML reads a value; what is nothing else stays text."""
    if EXPONENT.fullmatch(text):
        return float(text)
    try:
        return load_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the known name closest to `name`, or nothing."""
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def value_hint(declared: Any) -> str:
    """Say in a word what a field takes, for the help: `N`, `X ...`, `{adam,sgd}`."""
    kinds = _kinds(declared)
    kind, option = next(iter(kinds.items()), (None, None))
    if kind is Literal:
        return f"{{{','.join(map(str, get_args(option)))}}}"
    if kind is list:
        return f"{value_hint(get_args(option)[0]) if get_args(option) else 'VALUE'} ..."
    return {int: "N", float: "X", bool: "true|false", str: "TEXT"}.get(kind, "VALUE")


def _kinds(declared: Any) -> dict[Any, Any]:
    """Give the options of an annotation that files can hold, each by its plain type."""
    options = get_args(declared) if get_origin(declared) in (Union, UnionType) else (declared,)
    return {kind: option for option in options if (kind := get_origin(option) or option) in EXPECTED}


def _join_words(words: Words, kinds: Mapping[Any, Any]) -> Any:
    """Give the list, the one word or the switch that words stand for; a list may also be one word, `[1, 2]`."""
    if not words:
        if bool in kinds:
            return True
        raise TypeError("a value")
    takes_one = bool(kinds.keys() - {list, tuple})
    if len(words) == 1 and (takes_one or words[0].startswith("[") or words[0].lower() == "none"):
        return words[0]
    if list not in kinds:
        raise TypeError("one value")
    return [Words((word,)) for word in words]


def _as_option(value: Any, option: Any) -> Any:
    kind, inner = get_origin(option) or option, get_args(option)
    if kind is Literal:
        # YAML reads a bare `no` as false.
        value = "no" if value is False else value
        if value not in inner:
            raise TypeError("one of " + ", ".join(map(str, inner)))
        return value
    if kind in (list, tuple):
        if not isinstance(value, list | tuple):
            raise TypeError(f"a list, such as [{value}]")
        return [as_type(entry, inner[0]) for entry in value] if inner and kind is list else _untyped(value)
    if kind is float and type(value) is int:
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(EXPECTED[kind])
    return _untyped(value)


def _untyped(value: Any) -> Any:
    """Read what stands inside lists and mappings whose entries have no declared type."""
    if isinstance(value, Words):
        return parse_text(value[0]) if len(value) == 1 else [parse_text(word) for word in value]
    if isinstance(value, Mapping):
        return {key: _untyped(entry) for key, entry in value.items()}
    return [_untyped(entry) for entry in value] if isinstance(value, list | tuple) else value
