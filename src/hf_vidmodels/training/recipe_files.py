"""Recipe files: YAML with the fields of a method's arguments, found by name in the package or by path."""

from collections.abc import Mapping
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from ..text_files import read_text
from .arguments import TrainingArguments
from .field_values import as_type, nearest
from .sections import MODEL, PRESET, PROCESSOR
from .strict_yaml import load_yaml

COMMAND_LINE = "The command line"
OTHER_SPELLINGS = {"corpus": "dataset_name"}
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


def opening_of(path: Path) -> str:
    """Return the comment that a recipe file begins with: what it trains, and how long that takes."""
    lines = takewhile(lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines())
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines)


def read_recipe(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the method of a recipe file and its other fields, which are not checked yet.

    Raises:
        ValueError: when the file is not YAML, not a mapping, repeats a field or names no method.
    """
    try:
        content = load_yaml(read_text(path))
    except yaml.YAMLError as error:
        raise ValueError(f"The recipe {path} is not valid YAML: {error}") from error
    except RecursionError as error:
        raise ValueError(f"The recipe {path} is not valid YAML: it is nested too deeply") from error
    if not isinstance(content, Mapping) or not isinstance(content.get("method"), str):
        raise ValueError(f"The recipe {path} must hold 'field: value' lines, one of which is 'method: <name>'.")
    return content["method"], {name: value for name, value in content.items() if name != "method"}


def check_fields(given: Mapping[str, Any], arguments_class: type[TrainingArguments], source: str) -> dict[str, Any]:
    """Return the fields of a recipe file or a command line as values of the types that the arguments declare.

    A field of the model's configuration may also stand outside the section `model`, as in files of earlier versions.

    Args:
        given: field names and values.
        arguments_class: the dataclass that declares them.
        source: where they come from, for the error; `COMMAND_LINE` or what names a file.

    Raises:
        ValueError: for an unknown field (with the nearest known one) or a value of the wrong type.
    """
    types = get_type_hints(arguments_class)
    config_class = arguments_class.sections.get(MODEL)
    checked: dict[str, Any] = {}
    flat: dict[str, Any] = {}
    sections = {name: given[name] for name in (MODEL, PROCESSOR) if given.get(name) is not None}
    for name, value in given.items():
        if name in (MODEL, PROCESSOR):
            continue
        name = OTHER_SPELLINGS.get(name, name)
        if name in types:
            try:
                checked[name] = as_type(value, types[name])
            except TypeError as error:
                raise ValueError(f"{source} has {name}: {value!r}, but {name} takes {error}.") from error
        elif config_class is not None and (name == PRESET or config_class.has_field(name)):
            # Earlier versions wrote null for what was the preset's.
            if value is not None:
                flat[name] = value
        else:
            unknown = (
                f"Unknown field --{name}" if source == COMMAND_LINE else f"{source} has an unknown field {name!r}"
            )
            raise ValueError(f"{unknown}{nearest(str(name), types)}.".replace("?.", "?"))
    if flat:
        for name in flat.keys() & sections.setdefault(MODEL, {}).keys():
            raise ValueError(f"{source} has {name} twice, alone and in the section {MODEL}: leave the former out.")
        sections[MODEL] = flat | sections[MODEL]
    for name, content in sections.items():
        try:
            checked[name] = arguments_class.check_section(name, content)
        except ValueError as error:
            raise ValueError(f"{source} does not fit: {error}") from error
    return checked
