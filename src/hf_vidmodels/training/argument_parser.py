"""From a command line and the recipe file that it names to checked arguments."""

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from .argument_help import help_text
from .arguments import TrainingArguments
from .field_values import Words
from .precedence import check_stage_entries, resolve_arguments
from .recipe_files import COMMAND_LINE, available_recipes, check_fields, find_recipe, opening_of, read_recipe
from .recipe_lookup import recipe_class

if TYPE_CHECKING:
    from .recipe import Recipe

Arguments = TypeVar("Arguments", bound=TrainingArguments)

HELP_WORDS = ("-h", "--help")


def parse_command_line(argv: Sequence[str]) -> tuple[type["Recipe"], TrainingArguments]:
    """Return the recipe class that the command line names and its arguments.

    Prints the help and ends the process when `--help` is among `argv`; with a recipe, that shows the method's own
    fields and the recipe's settings.

    Raises:
        ValueError: for an unknown or contradictory field, or a value that does not fit.
        FileNotFoundError: for an unknown recipe.
    """
    recipe = read_words(argv, TrainingArguments).get("recipe")
    if recipe is None:
        if set(HELP_WORDS) & set(argv):
            _end_with_help(TrainingArguments, None, {})
        raise ValueError(f"Say what to train: --recipe NAME, one of {', '.join(available_recipes())}, or a YAML file.")
    found = recipe_class(read_recipe(find_recipe(" ".join(recipe)))[0])
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
    from_command_line = check_fields(read_words(argv, arguments_class), arguments_class, COMMAND_LINE)
    recipe, from_recipe = from_command_line.get("recipe"), {}
    if recipe:
        path = find_recipe(recipe)
        _, given = read_recipe(path)
        from_recipe = check_fields(given, arguments_class, f"The recipe {path}")
        if from_recipe.get("stages"):
            from_recipe["stages"] = check_stage_entries(from_recipe["stages"], arguments_class, f"The recipe {path}")
    if set(HELP_WORDS) & set(argv):
        _end_with_help(arguments_class, recipe, from_recipe)
    return resolve_arguments(arguments_class, from_recipe, from_command_line)


def read_words(argv: Sequence[str], arguments_class: type[TrainingArguments]) -> dict[str, Any]:
    """Give what a command line says by field: its words, for a section (`--model.preset`) a mapping of them.

    `--name value`, `--name=value`, `--name-with-dashes`, the switches `--name` and `--no_name`; what is given twice
    counts the last time.

    Raises:
        ValueError: for words that belong to no field.
    """
    switches = {item.name for item in fields(arguments_class) if item.type is bool}
    found: dict[str, Any] = {}
    place, name, stray = found, None, 0
    for word in argv:
        if word in HELP_WORDS:
            continue
        if word.startswith("--"):
            path, equals, value = word[2:].partition("=")
            *sections, name = path.replace("-", "_").split(".")
            place = found
            for section in sections:
                place = place.setdefault(section, {})
            if name.startswith("no_") and name[3:] in switches and not sections:
                name, equals, value = name[3:], "=", "false"
            place[name] = Words((value,) if equals else ())
        elif name is None:
            stray += 1
        else:
            place[name] = Words((*place[name], word))
    if stray:
        raise ValueError(
            f"Every field is given as --field value, but the command line has {stray} word(s) without a field."
        )
    return found


def _end_with_help(arguments_class: type[TrainingArguments], recipe: str | None, settings: dict[str, Any]) -> None:
    opening = opening_of(find_recipe(recipe)) if recipe else ""
    print(help_text(arguments_class, recipe, settings, opening, available_recipes()))
    raise SystemExit(0)
