"""From what a recipe file and a command line say to arguments: the command line wins, in every stage.

A field on the command line takes the place of the file's, also of the values that stages have there. A field of the
file that contradicts one of the command line (`save_epochs: 20` and `--save_strategy steps`) gives way to its default.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from .arguments import TrainingArguments
from .field_values import nearest
from .recipe_files import check_fields
from .sections import MODEL, PROCESSOR
from .stage_plan import CONTINUES, NAME, STAGE_FIELDS

Arguments = TypeVar("Arguments", bound=TrainingArguments)


def resolve_arguments(
    arguments_class: type[Arguments], from_recipe: Mapping[str, Any], from_command_line: Mapping[str, Any]
) -> Arguments:
    """Return the arguments that both stand for.

    Args:
        arguments_class: the dataclass to make.
        from_recipe: the checked fields of the recipe file.
        from_command_line: those that the command line gives.

    Raises:
        ValueError: for a value out of its range, and for a contradiction inside the file or the command line.
    """

    from_command_line = {**from_command_line, **_merged_sections(arguments_class, from_recipe, from_command_line)}

    def build(recipe_fields: Mapping[str, Any]) -> Arguments:
        return arguments_class(**(recipe_fields | from_command_line))

    args = build(_without_contradictions(build, from_recipe, from_command_line))
    if not args.stages or "stages" in from_command_line:
        return args
    stages = []
    for entry in args.stages:
        head = {name: value for name, value in entry.items() if name in (NAME, CONTINUES)}
        fields = {name: value for name, value in entry.items() if name not in {*head, *from_command_line}}

        def build_stage(stage_fields: Mapping[str, Any]) -> Arguments:
            return replace(args, stages=None, **stage_fields)

        stages.append(head | _without_contradictions(build_stage, fields, from_command_line))
    return replace(args, stages=stages)


def _merged_sections(
    arguments_class: type[TrainingArguments], from_recipe: Mapping[str, Any], from_command_line: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Give the sections that the command line changes, with what the recipe file says elsewhere in them."""
    merged = {}
    for name in {MODEL, PROCESSOR} & from_command_line.keys():
        given, changes = from_recipe.get(name, {}), from_command_line[name]
        merged[name] = arguments_class.sections[MODEL].merged(given, changes) if name == MODEL else given | changes
    return merged


def _without_contradictions(
    build: Callable[[Mapping[str, Any]], Arguments], fields: Mapping[str, Any], firm: Collection[str]
) -> dict[str, Any]:
    """Drop fields until `build` refuses none of them because of one in `firm`, or because of one that was dropped."""
    kept, firm = dict(fields), set(firm)
    while True:
        try:
            build(kept)
        except ValueError as error:
            # A sentence about a contradiction names the fields that it is between.
            named = set(re.findall(r"\w+", str(error)))
            yielding = (named & kept.keys()) - firm
            if not (yielding and named & firm):
                return kept
            firm |= yielding
            kept = {name: value for name, value in kept.items() if name not in yielding}
        else:
            return kept


def check_stage_entries(
    entries: list[dict[str, Any]], arguments_class: type[TrainingArguments], source: str
) -> list[dict[str, Any]]:
    """Return the entries of a recipe file's `stages` with values of the types that the arguments declare.

    Args:
        entries: mappings as YAML has them.
        arguments_class: the dataclass that declares the fields.
        source: where they come from, for the error.

    Raises:
        ValueError: for an entry without name, a field that no stage can have (with the nearest one that it can), or a
            value of the wrong type.
    """
    checked = []
    for entry in entries:
        name, continues = entry.get(NAME), entry.get(CONTINUES, False)
        if not isinstance(name, str):
            raise ValueError(f"{source} has a stage without name: give every entry one, such as name: full.")
        if not isinstance(continues, bool):
            raise ValueError(f"{source}, stage {name}, has continues: {continues!r}, but it takes true or false.")
        fields = {field: value for field, value in entry.items() if field not in (NAME, CONTINUES)}
        for field in fields:
            if field not in STAGE_FIELDS:
                known = dict.fromkeys((*STAGE_FIELDS, CONTINUES))
                raise ValueError(
                    f"{source}, stage {name}, has a field {field!r} that no stage has{nearest(field, known)}."
                )
        head = {key: entry[key] for key in (NAME, CONTINUES) if key in entry}
        checked.append(head | check_fields(fields, arguments_class, f"{source}, stage {name},"))
    return checked
