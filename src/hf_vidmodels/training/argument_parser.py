"""From a command line and a recipe file to checked arguments, and the help text that teaches them."""

import argparse
import dataclasses
import re
from collections.abc import Sequence
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from transformers import HfArgumentParser
from transformers.hf_argparser import string_to_bool

from .arguments import TrainingArguments
from .precedence import check_stage_entries, resolve_arguments
from .recipe import Recipe
from .recipe_files import available_recipes, check_fields, find_recipe, nearest, read_recipe
from .recipe_lookup import recipe_class

Arguments = TypeVar("Arguments", bound=TrainingArguments)

DESCRIPTION = """\
Train a method by its recipe. A recipe gives the published settings; every field below can be changed on the command
line, which wins over the recipe.

  hf-vidmodels train --recipe asm_loc/embedded --output_dir runs/digits
  hf-vidmodels train --recipe asm_loc/embedded --help      its own fields and its settings
  hf-vidmodels train --num_processes 2 --recipe ...        two processes (hf-vidmodels --help lists such options)
"""


def parse_command_line(argv: Sequence[str]) -> tuple[type[Recipe], TrainingArguments]:
    """Return the recipe class that the command line names and its arguments.

    Prints the help and ends the process when `--help` is among `argv`; with a recipe, that shows the method's own
    fields and the recipe's settings.

    Raises:
        ValueError: for an unknown or contradictory field, or a value that does not fit.
        FileNotFoundError: for an unknown recipe.
    """
    first_look = _Parser(add_help=False, allow_abbrev=False)
    first_look.add_argument("--recipe")
    first_look.add_argument("--help", "-h", action="store_true")
    asked = first_look.parse_known_args(argv)[0]
    if asked.recipe is None:
        if asked.help:
            _build_parser(TrainingArguments, "all methods").parse_args(["--help"])
        raise ValueError(f"Say what to train: --recipe NAME, one of {', '.join(available_recipes())}, or a YAML file.")
    found = recipe_class(read_recipe(find_recipe(asked.recipe))[0])
    return found, parse_arguments(found.arguments_class, argv)


def parse_arguments(arguments_class: type[Arguments], argv: Sequence[str]) -> Arguments:
    """Return the arguments that a command line and the recipe file it names (if it does) stand for.

    Args:
        arguments_class: `TrainingArguments` or a method's dataclass derived from it.
        argv: the command line without the program's name; wins over the recipe file.

    Raises:
        ValueError: for an unknown field (with the nearest known one), a value of the wrong type, or a contradiction.
        FileNotFoundError: for an unknown recipe.
    """
    parser = _build_parser(arguments_class, arguments_class.__name__)
    argv, cleared = _split_off_nones(argv, arguments_class)
    without_help = [word for word in argv if word not in ("-h", "--help")]
    recipe = parser.parse_known_args(without_help)[0].recipe
    from_recipe = {}
    if recipe:
        path = find_recipe(recipe)
        method, given = read_recipe(path)
        from_recipe = check_fields(given, arguments_class, f"The recipe {path}")
        if from_recipe.get("stages"):
            from_recipe["stages"] = check_stage_entries(from_recipe["stages"], arguments_class, f"The recipe {path}")
        parser.set_defaults(**from_recipe)
        parser.description = f"{DESCRIPTION}\nShown are the settings of {recipe}, which trains the method {method}."
    unknown = parser.parse_known_args(argv)[1]
    if unknown:
        raise ValueError(_unknown_sentence(unknown, arguments_class))
    not_given = object()
    parser.set_defaults(**{item.name: not_given for item in dataclasses.fields(arguments_class)})
    words = vars(parser.parse_known_args(without_help)[0])
    from_command_line = {name: value for name, value in words.items() if value is not not_given}
    return resolve_arguments(arguments_class, from_recipe, from_command_line | dict.fromkeys(cleared))


class _Parser(HfArgumentParser):
    """An argument parser whose errors are exceptions instead of the end of the process."""

    def error(self, message: str) -> None:
        raise ValueError(f"The command line does not fit: {message}.")


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows one spelling of each option, and its default where there is one."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=118)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        return f"{action.option_strings[0]} {_value_hint(action)}".rstrip()

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, "", []) else super()._get_help_string(action)


def _value_hint(action: argparse.Action) -> str:
    if action.choices:
        return f"{{{','.join(map(str, action.choices))}}}"
    if action.nargs == "?":
        return "[true|false]"
    if action.nargs == 0:
        return ""
    hint = {int: "N", float: "X", string_to_bool: "true|false"}.get(action.type, "TEXT")
    return f"{hint} ..." if action.nargs == "+" else hint


def _build_parser(arguments_class: type[TrainingArguments], title: str) -> _Parser:
    """Return a parser of all fields, in the groups that their declarations name."""
    types = get_type_hints(arguments_class)
    groups: dict[str, list[tuple[str, Any, Any]]] = {}
    for item in dataclasses.fields(arguments_class):
        group = item.metadata["group"] or f"fields of the method ({title})"
        declaration = dataclasses.field(
            default=item.default, default_factory=item.default_factory, metadata={"help": item.metadata["help"]}
        )
        groups.setdefault(group, []).append((item.name, types[item.name], declaration))
    parsed_groups = [
        dataclasses.make_dataclass("ArgumentGroup", declarations, namespace={"_argument_group_name": group})
        for group, declarations in groups.items()
    ]
    return _Parser(
        parsed_groups,
        prog="hf-vidmodels train",
        usage="hf-vidmodels train --recipe RECIPE --output_dir FOLDER [--FIELD VALUE ...]",
        description=DESCRIPTION,
        epilog=f"recipes: {', '.join(available_recipes())}",
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )


def _split_off_nones(argv: Sequence[str], arguments_class: type[TrainingArguments]) -> tuple[list[str], list[str]]:
    """Take `--field none` off the command line for fields that may be absent; return the rest and these fields."""
    optional = {name for name, declared in get_type_hints(arguments_class).items() if NoneType in get_args(declared)}
    rest, cleared, words = [], [], list(argv)
    while words:
        word = words.pop(0)
        name, equals, value = word.removeprefix("--").replace("-", "_").partition("=")
        following = value if equals else (words[0] if words else "")
        if word.startswith("--") and name in optional and following.lower() == "none":
            cleared.append(name)
            del words[: 0 if equals else 1]
        else:
            rest.append(word)
    return rest, cleared


def _unknown_sentence(unknown: Sequence[str], arguments_class: type[TrainingArguments]) -> str:
    """Name what was not understood; values are left out, for a password or token may be among them."""
    known = {item.name: item for item in dataclasses.fields(arguments_class)}
    names = [re.split("=", word)[0].lstrip("-").replace("-", "_") for word in unknown if word.startswith("--")]
    if not names:
        return (
            f"Every field is given as --field value, but the command line has {len(unknown)} word(s) without a field."
        )
    return " ".join(f"Unknown field --{name}{nearest(name, known)}." for name in names).replace("?.", "?")
