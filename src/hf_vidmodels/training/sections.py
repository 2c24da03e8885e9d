"""The sections `model:` and `processor:` of a recipe: any field of the class that they set up, without a copy of it.

Names, types and descriptions come from the class: its annotations, and the `Args` or `Attributes` of its docstring.
"""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, get_type_hints

from .field_values import as_type, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from ..configuration.configuration_base import VidModelsConfig

MODEL, PROCESSOR, PRESET = "model", "processor", "preset"
# A nested configuration `backbone_config` may be called `backbone`.
NESTED_SUFFIX = "_config"
# An entry in a docstring's list: `name: text`, with further lines indented more.
DESCRIPTION = re.compile(r"^    (\w+): (.+(?:\n {8,}.+)*)", re.MULTILINE)


@dataclass(frozen=True)
class SectionField:
    """A field of a section, for the help.

    Attributes:
        path: its name, such as `model.backbone_config.hidden_size`.
        declared: its type.
        description: what it does.
        default: its value when it is not given.
    """

    path: str
    declared: Any
    description: str
    default: Any


def check_section(name: str, given: Mapping[str, Any], section_class: type) -> dict[str, Any]:
    """Return a section with checked names and values; raises as `check_model`."""
    return check_model(given, section_class) if name == MODEL else check_processor(given, section_class)


def check_model(given: Mapping[str, Any], config_class: type["VidModelsConfig"]) -> dict[str, Any]:
    """Return a section `model:` with checked names and values, nested as the configuration is.

    Args:
        given: fields as YAML or a command line has them; fields of a nested configuration may stand beside those of
            the method.
        config_class: the configuration.

    Raises:
        ValueError: for a name that is no field (with the nearest one), or a value of the wrong type.
    """
    own = _own_types(config_class) | ({PRESET: str} if config_class.presets else {})
    whole: dict[str, Any] = {}
    for short, value in given.items():
        name = f"{short}{NESTED_SUFFIX}" if f"{short}{NESTED_SUFFIX}" in config_class.sub_configs else short
        if name in config_class.sub_configs and not isinstance(value, Mapping):
            raise ValueError(f"{MODEL}.{name} takes fields, but it is {value!r}.")
        whole = config_class.merged(whole, {name: value})
    checked: dict[str, Any] = {}
    for name, value in whole.items():
        if name in config_class.sub_configs:
            types = _nested_types(config_class, name)
            value = {key: _checked(f"{MODEL}.{name}", key, entry, types) for key, entry in value.items()}
        else:
            value = _checked(MODEL, name, value, own)
        checked[name] = value
    if checked.get(PRESET) not in (None, *config_class.presets):
        raise ValueError(
            f"{MODEL}.{PRESET} must be one of {', '.join(config_class.presets)}, but it is {checked[PRESET]!r}."
        )
    return checked


def check_processor(given: Mapping[str, Any], processor_class: type) -> dict[str, Any]:
    """Return a section `processor:` with checked names and values; raises as `check_model`."""
    types = get_type_hints(processor_class.valid_kwargs)
    return {name: _checked(PROCESSOR, name, value, types) for name, value in given.items()}


def refuse_fields_of_others(given: Mapping[str, Any], config: "VidModelsConfig") -> None:
    """Raise ValueError for a field that the chosen class of a nested configuration does not have."""
    from ..configuration.configuration_base import field_names

    for place in set(config.sub_configs) & set(given):
        nested = getattr(config, place)
        for name in set(given[place]) - field_names(type(nested)) - {"model_type"}:
            raise ValueError(f"{MODEL}.{place}.{name} is no field of {type(nested).__name__}, which is chosen here.")


def model_fields(config: "VidModelsConfig", preset: str | None) -> list[SectionField]:
    """List what `model:` takes, of nested configurations those of the class in `config`, with the values there."""
    presets = f"Settings to start from, one of {', '.join(config.presets)}."
    shown = [SectionField(f"{MODEL}.{PRESET}", str, presets, preset)] if config.presets else []
    shown += _fields_of(config, MODEL)
    for place in config.sub_configs:
        shown += _fields_of(getattr(config, place), f"{MODEL}.{place}")
    return shown


def processor_fields(processor_class: type, given: Mapping[str, Any]) -> list[SectionField]:
    """List what `processor:` takes and the processor explains, with the values in `given`."""
    types = get_type_hints(processor_class.valid_kwargs)
    described = descriptions(processor_class.valid_kwargs)
    return [SectionField(f"{PROCESSOR}.{name}", types[name], described[name], given.get(name)) for name in described]


def descriptions(documented: type) -> dict[str, str]:
    """Read what a class says of its arguments or attributes in its docstring, as sentences."""
    text = inspect.cleandoc(documented.__doc__ or "")
    listed = re.search(r"^(?:Args|Attributes):\n((?: .*\n?|\n)*)", text, re.MULTILINE)
    found = {} if listed is None else {name: " ".join(words.split()) for name, words in DESCRIPTION.findall(listed[1])}
    return {name: words[:1].upper() + words[1:] for name, words in found.items()}


def _own_types(config_class: type["PreTrainedConfig"]) -> dict[str, Any]:
    """Give the types of the fields that a configuration adds to those of all configurations, but for nested ones."""
    from transformers import PreTrainedConfig

    from ..configuration.configuration_base import field_names

    left_out = field_names(PreTrainedConfig) | set(config_class.sub_configs)
    types = {field.name: field.type for field in fields(config_class) if field.name not in left_out}
    return types | {old: types[new] for old, new in config_class.attribute_map.items() if new in types}


def _nested_types(config_class: type["VidModelsConfig"], place: str) -> dict[str, Any]:
    """Give the types of the fields of all classes that a nested configuration may have."""
    types: dict[str, Any] = {"model_type": str}
    for nested_class in config_class.sub_config_classes(place):
        for name, declared in _own_types(nested_class).items():
            types[name] = types[name] | declared if name in types else declared
    return types


def _checked(section: str, name: str, value: Any, types: Mapping[str, Any]) -> Any:
    if name not in types:
        raise ValueError(f"{section} has no field {name!r}{nearest(name, types)}.".replace("?.", "?"))
    try:
        return as_type(value, types[name])
    except TypeError as error:
        raise ValueError(f"{section}.{name} takes {error}, but it is {value!r}.") from error


def _fields_of(config: "PreTrainedConfig", section: str) -> list[SectionField]:
    described = descriptions(type(config))
    return [
        SectionField(f"{section}.{name}", declared, described.get(name, ""), getattr(config, name))
        for name, declared in _own_types(type(config)).items()
        if name not in config.attribute_map
    ]
