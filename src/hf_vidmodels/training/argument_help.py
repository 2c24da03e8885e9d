"""The help of `hf-vidmodels train`: every field in its group, with what it does, what it takes and what it is."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

from .arguments import TrainingArguments
from .field_values import value_hint
from .sections import MODEL, PRESET, PROCESSOR, model_fields, processor_fields

USAGE = """\
usage: hf-vidmodels train --recipe RECIPE --output_dir FOLDER [--FIELD VALUE ...]

Train a method by its recipe. A recipe gives the published settings; every field below can be changed on the command
line, which wins over the recipe.

  hf-vidmodels train --recipe asm_loc/embedded --output_dir runs/digits
  hf-vidmodels train --recipe asm_loc/embedded --help      its own fields and its settings
  hf-vidmodels train --num_processes 2 --recipe ...        two processes (hf-vidmodels --help lists such options)
"""
WIDTH, NAME_WIDTH = 118, 34
METHOD_GROUP = "fields of the method"


def help_text(
    arguments_class: type[TrainingArguments],
    recipe: str | None,
    settings: Mapping[str, Any],
    opening: str,
    recipes: Sequence[str],
) -> str:
    """Return the help of a method, or of all methods.

    Args:
        arguments_class: the method's arguments, or `TrainingArguments`.
        recipe: the recipe whose settings are shown as defaults, or None.
        settings: its fields.
        opening: what its file says about it.
        recipes: names of all recipes.
    """
    parts = [USAGE]
    if recipe is not None:
        parts.append(f"Shown are the settings of {recipe}.\n{opening}\n")
    groups: dict[str, list[str]] = {}
    types = get_type_hints(arguments_class)
    for item in fields(arguments_class):
        entries = groups.setdefault(item.metadata["group"] or METHOD_GROUP, [])
        if item.name in (MODEL, PROCESSOR):
            entries.append(_entry(f"{item.name}.FIELD", "VALUE", item.metadata["help"], None))
            continue
        default = item.default if item.default_factory is MISSING else item.default_factory()
        default = settings.get(item.name, default)
        entries.append(_entry(item.name, value_hint(types[item.name]), item.metadata["help"], default))
    for title, listed in _section_fields(arguments_class, settings).items():
        groups[title] = [_entry(one.path, value_hint(one.declared), one.description, one.default) for one in listed]
    for title, entries in groups.items():
        parts.append("\n".join([f"{title}:", *entries, ""]))
    return "\n".join([*parts, textwrap.fill(f"recipes: {', '.join(recipes)}", WIDTH)])


def _section_fields(arguments_class: type[TrainingArguments], settings: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Give the fields of the sections by title, with the preset's values, changed as the recipe says."""
    found = {}
    if config_class := arguments_class.sections.get(MODEL):
        given = dict(settings.get(MODEL, {}))
        preset = given.pop(PRESET, arguments_class.default_preset)
        config = config_class.from_preset(preset, **given) if preset else config_class(**given)
        found[f"model ({config_class.__name__})"] = model_fields(config, preset)
    if processor_class := arguments_class.sections.get(PROCESSOR):
        title = f"processor ({processor_class.__name__}; also what all processors of its kind take, such as size)"
        found[title] = processor_fields(processor_class, settings.get(PROCESSOR, {}))
    return found


def _entry(name: str, hint: str, text: str, default: Any) -> str:
    if default not in (None, "", [], {}):
        text = f"{text} (default: {default})".strip()
    option = f"  --{name} {hint}"
    lines = textwrap.wrap(text, WIDTH - NAME_WIDTH, break_on_hyphens=False) or [""]
    if len(option) < NAME_WIDTH:
        option, lines = option.ljust(NAME_WIDTH) + lines[0], lines[1:]
    return "\n".join([option, *(" " * NAME_WIDTH + line for line in lines)])
