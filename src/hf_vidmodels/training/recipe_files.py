"""Recipe files: YAML with the fields of a method's arguments, found by name in the package or by path."""

from collections.abc import Hashable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from .arguments import TrainingArguments

RECIPES_FOLDER = Path(__file__).parent / "recipes"


def available_recipes() -> list[str]:
    """Return the names of the recipe files that come with the package, such as `asm_loc/embedded`."""
    return sorted(
        path.relative_to(RECIPES_FOLDER).with_suffix("").as_posix() for path in RECIPES_FOLDER.rglob("*.yaml")
    )


def find_recipe(name_or_path: str) -> Path:
    """Return the file of a recipe.

    Raises:
        FileNotFoundError: when there is neither such a recipe in the package nor such a file.
    """
    names = available_recipes()
    if name_or_path in names:
        return RECIPES_FOLDER / f"{name_or_path}.yaml"
    path = Path(name_or_path)
    if path.is_file():
        return path
    near = get_close_matches(name_or_path, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise FileNotFoundError(
        f"There is no recipe {name_or_path!r} ({hint}available: {', '.join(names) or 'none'}; or give the path of a "
        "YAML file)."
    )


def read_recipe(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the method of a recipe file and its other fields, which are not checked yet.

    Raises:
        ValueError: when the file is not YAML, not a mapping, repeats a field or names no method.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"The recipe {path} is not valid YAML: {error}") from error
    if not isinstance(content, Mapping) or not isinstance(content.get("method"), str):
        raise ValueError(f"The recipe {path} must hold 'field: value' lines, one of which is 'method: <name>'.")
    return content["method"], {name: value for name, value in content.items() if name != "method"}


def check_fields(given: Mapping[str, Any], arguments_class: type[TrainingArguments], source: str) -> dict[str, Any]:
    """Return the fields of a recipe file as values of the types that the arguments declare.

    Args:
        given: field names and values as YAML has them.
        arguments_class: the dataclass that declares them.
        source: where they come from, for the error.

    Raises:
        ValueError: for an unknown field (with the nearest known one) or a value of the wrong type.
    """
    types = get_type_hints(arguments_class)
    checked = {}
    for name, value in given.items():
        if name not in types:
            raise ValueError(f"{source} has an unknown field {name!r}{nearest(str(name), types)}.")
        try:
            checked[name] = as_type(value, types[name])
        except TypeError as error:
            raise ValueError(f"{source} has {name}: {value!r}, but {name} takes {error}.") from error
    return checked


def nearest(name: str, known: Mapping[str, Any]) -> str:
    """Return `; did you mean 'x'?` for the known name closest to `name`, or nothing."""
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def as_type(value: Any, declared: Any) -> Any:
    """Return a YAML value as the declared type; whole numbers and text such as `1e-4` pass for floats.

    Raises:
        TypeError: with the name of what is expected, when the value is something else.
    """
    origin, options = get_origin(declared), get_args(declared)
    if origin in (Union, UnionType):
        if value is None and NoneType in options:
            return None
        return as_type(value, next(option for option in options if option is not NoneType))
    if origin is Literal:
        if value in options and isinstance(value, str):
            return value
        # YAML reads a bare `no` as false.
        if value is False and "no" in options:
            return "no"
        raise TypeError("one of " + ", ".join(map(str, options)))
    if origin is list:
        if not isinstance(value, list):
            raise TypeError(f"a list, such as [{value}]")
        return [as_type(entry, options[0]) for entry in value]
    if origin is dict:
        if not isinstance(value, dict):
            raise TypeError("mappings of fields to values")
        return value
    if declared is float:
        return _as_float(value)
    if type(value) is not declared:
        raise TypeError({int: "a whole number", bool: "true or false", str: "text"}[declared])
    return value


def _as_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError("a number")
    try:
        return float(value)
    except ValueError as error:
        raise TypeError("a number") from error


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader, which also refuses a field that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names = [self.construct_object(key) for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise yaml.YAMLError(f"the field {name!r} is given twice")
        return super().construct_mapping(node, deep=deep)
