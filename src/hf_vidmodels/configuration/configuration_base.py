"""What all configurations share: presets, nested configurations, a warning for unknown keys, and safe sharing of
package classes.

Rules of transformers 5 that this builds on: a configuration is a strict dataclass (`@strict_config` on each subclass),
every `validate_*` method runs after construction, and keys that are no field become attributes without a word.
"""

import copy
import difflib
import json
import logging
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from functools import cache, wraps
from typing import Any, ClassVar, get_args

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassClassValidationError
from transformers import PreTrainedConfig

logger = logging.getLogger(__name__)

# Keys that transformers itself writes into config.json or passes along and that are fields of no configuration.
KEYS_OF_TRANSFORMERS = frozenset(
    {
        "_name_or_path",
        "_commit_hash",
        "_attn_implementation_autoset",
        "_attn_implementation_internal",
        "_experts_implementation_internal",
        "attn_implementation",
        "auto_map",
        "experts_implementation",
        "model_type",
        "name_or_path",
        "num_labels",
        "output_attentions",
        "per_layer_config",
        "tie_word_embeddings",
        "torch_dtype",
        "transformers_version",
    }
)

# By patterns of field names, the largest values with which a model can be built. Others have no bound.
LARGEST_VALUES = (
    (r"(\w+_)?num_(\w+_)?layers|depths?|num_refinement_steps", 1000),
    (r"(\w+_)?image_size", 8192),
    (r"(\w+_)?(hidden|embed|embedding|intermediate|patch|kernel|window)_size|(\w+_)?dim", 65536),
    (r"num_channels|num_(\w+_)?heads|num_frames|num_snippets|upsample_scale", 65536),
)


class VidModelsConfig(PreTrainedConfig):
    """Base of all configurations of this package.

    A network inside a method has a configuration of its own in a field of the method's, which `sub_configs` names as
    in transformers. The annotation of that field lists the configuration classes that it takes, then `dict` and
    `None`: it accepts an object, a dict (whose `model_type` chooses the class) and `None` (the defaults). A name that
    is no field of the method but of exactly one nested configuration means that one, as keyword, in JSON and as
    attribute: `SttsConfig(hidden_size=32)`. What is saved is nested.

    Class attributes:
        presets: published settings by name, each a dict of the fields that differ from the defaults.
        sub_configs: fields that hold nested configurations, with the default class of each.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    sub_configs: ClassVar[dict[str, type[PreTrainedConfig]]] = {}

    def __post_init__(self, **kwargs: Any) -> None:
        """Build nested configurations, turn tuples into lists of its own, and name unknown keys."""
        nested = self.nested({name: getattr(self, name) for name in self.sub_configs} | kwargs)
        for name in self.sub_configs:
            setattr(self, name, self._sub_config(name, nested.pop(name)))
        self._warn_of_unknown_keys(nested)
        # Tuples would not equal the lists that JSON makes of them.
        for field in fields(self):
            if isinstance(value := getattr(self, field.name), tuple | list):
                setattr(self, field.name, copy.deepcopy(list(value)))
        super().__post_init__(**nested)
        # Auto classes that choose among a method's models look through the list.
        self.architectures = self.architectures or []

    def to_dict(self) -> dict[str, Any]:
        """Give all fields; `architectures` is None until a model was saved with the configuration."""
        values = super().to_dict()
        return values | {"architectures": values["architectures"] or None}

    def __getattr__(self, name: str) -> Any:
        """Read a field of a nested configuration."""
        homes = _homes(type(self)).get(name, ())
        if len(homes) != 1 or homes[0] not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.__dict__[homes[0]], name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Write a field of a nested configuration, where the name is none of its own."""
        homes = _homes(type(self)).get(name, ())
        if len(homes) == 1 and homes[0] in self.__dict__:
            setattr(self.__dict__[homes[0]], name, value)
        else:
            super().__setattr__(name, value)

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> "VidModelsConfig":
        """Make the configuration of a published setting.

        Args:
            name: a key of `presets`.
            overrides: fields that win over the preset; of a nested configuration those that differ are enough.

        Raises:
            ValueError: for a name that is no preset; the message lists those there are.
        """
        if name not in cls.presets:
            known = ", ".join(sorted(cls.presets)) or "none"
            raise ValueError(f"{cls.__name__} has no preset {name!r}; there are: {known}")
        return cls(**cls.merged(cls.presets[name], overrides))

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any], **kwargs: Any) -> Any:
        """Make a configuration of the content of a `config.json`; fields among `kwargs` win and are checked too."""
        inherited = field_names(PreTrainedConfig)
        changes = {name: kwargs.pop(name) for name in list(kwargs) if name not in inherited and cls.has_field(name)}
        return super().from_dict(cls.merged(config_dict, changes), **kwargs)

    @classmethod
    def has_field(cls, name: str) -> bool:
        """Whether `name` is a field, an older name of one, or a field of one of the nested configurations."""
        return name in field_names(cls) or name in _homes(cls)

    @classmethod
    def sub_config_classes(cls, name: str) -> tuple[type[PreTrainedConfig], ...]:
        """Give the classes of the nested configuration `name`, the default first."""
        options = next(get_args(field.type) for field in fields(cls) if field.name == name)
        return tuple(option for option in options if isinstance(option, type) and issubclass(option, PreTrainedConfig))

    @classmethod
    def nested(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Give settings with the flat names of nested configurations moved into these.

        Raises:
            ValueError: for a name that several nested configurations have and the method has not.
        """
        moved = dict(values)
        for name in values:
            match _homes(cls).get(name, ()):
                case [home]:
                    moved[home] = {**_as_dict(moved.get(home)), name: moved.pop(name)}
                case [first, *others]:
                    raise ValueError(
                        f"{name} is a field of {first} and of {' and '.join(others)}; give it inside one of them, "
                        f"such as {first}={{{name!r}: ...}}"
                    )
        return moved

    @classmethod
    def merged(cls, settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """Give `settings` with `changes` on top, flat or nested; nested configurations keep what is not changed."""
        settings, changes = cls.nested(settings), cls.nested(changes)
        for name in set(cls.sub_configs) & set(settings) & set(changes):
            if not isinstance(changes[name], PreTrainedConfig):
                changes[name] = _as_dict(settings[name]) | _as_dict(changes[name])
        return settings | changes

    def to_diff_dict(self) -> dict[str, Any]:
        """Write what differs from transformers' defaults, in nested configurations too."""
        values = super().to_diff_dict()
        for name in self.sub_configs:
            values[name] = getattr(self, name).to_diff_dict()
            del values[name]["transformers_version"]
        return values

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoConfig") -> None:
        """Do as transformers does for code exported to the Hub, and nothing for the package's own classes.

        Loading through `auto_map` registers the class it finds; on a package class that would make every later save
        copy a file whose relative imports do not resolve in a flat folder.
        """
        if not cls.__module__.startswith("hf_vidmodels."):
            super().register_for_auto_class(auto_class)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Save `config.json`; a package configuration forgets the `auto_map` of a repository with exported code.

        The code files are not copied along, `hf_vidmodels.hub.code_export.export_code` writes both together.
        """
        if type(self).__module__.startswith("hf_vidmodels.") and hasattr(self, "auto_map"):
            del self.auto_map
        super().save_pretrained(save_directory, **kwargs)

    def validate_all_numbers(self) -> None:
        """Refuse numbers that no model can have; runs before the checks of the single configurations.

        Raises:
            ValueError: a number is NaN or infinite, beyond a bound of `LARGEST_VALUES`, or no number of heads; class
                ids have gaps.
        """
        for field in fields(self):
            for value in _numbers_in(getattr(self, field.name)):
                if isinstance(value, float) and not math.isfinite(value):
                    raise ValueError(f"{field.name} must be a finite number, got {value}")
                largest = next((most for name, most in LARGEST_VALUES if re.fullmatch(name, field.name)), None)
                if largest is not None and value > largest:
                    raise ValueError(
                        f"{field.name} must be at most {largest}, got {value}; a larger model could not be built in "
                        "any reasonable time and memory"
                    )
                if field.name.endswith("heads") and value < 1:
                    raise ValueError(f"{field.name} must be at least 1, got {value}")
        if self.id2label and sorted(self.id2label) != list(range(len(self.id2label))):
            raise ValueError(
                f"id2label must name the classes 0 to {len(self.id2label) - 1} without gaps, got the ids "
                f"{', '.join(map(str, sorted(self.id2label)[:10]))}{', ...' if len(self.id2label) > 10 else ''}"
            )

    def _sub_config(self, name: str, given: PreTrainedConfig | Mapping[str, Any] | None) -> PreTrainedConfig:
        if isinstance(given, PreTrainedConfig):
            return given
        classes, values = self.sub_config_classes(name), dict(given or {})
        model_type = values.pop("model_type", self.sub_configs[name].model_type)
        config_class = next((one for one in classes if one.model_type == model_type), None)
        if config_class is None:
            known = " or ".join(repr(one.model_type) for one in classes)
            raise ValueError(f"model_type of {name} must be {known}, got {model_type!r}")
        # Flat files hold the fields of all classes: those of the others go, unless somebody set them.
        defaults = {field.name: field.default for one in classes for field in fields(one)}
        known = field_names(config_class)
        return config_class(
            **{
                key: value
                for key, value in values.items()
                if key in known or key not in defaults or not (value is None or _are_equal(value, defaults[key]))
            }
        )

    def _warn_of_unknown_keys(self, kwargs: Mapping[str, Any]) -> None:
        known = field_names(type(self)) | KEYS_OF_TRANSFORMERS
        for key in sorted(set(kwargs) - known):
            close = difflib.get_close_matches(key, known | set(_homes(type(self))), n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            logger.warning("%s has no field %r, it is kept but has no effect%s", type(self).__name__, key, hint)


def _numbers_in(value: Any) -> Iterator[int | float]:
    """Give a number, or those in nested lists and dicts."""
    if isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _numbers_in(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


@cache
def field_names(config_class: type[PreTrainedConfig]) -> frozenset[str]:
    """Give the names of a configuration's own fields, older ones included."""
    return frozenset(field.name for field in fields(config_class)) | frozenset(config_class.attribute_map)


@cache
def _homes(config_class: type[VidModelsConfig]) -> dict[str, list[str]]:
    """Give per name that is a field of nested configurations alone which of these have it."""
    homes: dict[str, list[str]] = {}
    for place in config_class.sub_configs:
        names = frozenset().union(*map(field_names, config_class.sub_config_classes(place)))
        for name in names - field_names(config_class):
            homes.setdefault(name, []).append(place)
    return homes


def _as_dict(settings: PreTrainedConfig | Mapping[str, Any] | None) -> dict[str, Any]:
    return settings.to_dict() if isinstance(settings, PreTrainedConfig) else dict(settings or {})


def _are_equal(value: Any, default: Any) -> bool:
    """Whether JSON would write the same of both."""
    return default is not MISSING and json.dumps(value) == json.dumps(default)


def strict_config(config_class: type[VidModelsConfig]) -> type[VidModelsConfig]:
    """Make a configuration a strict dataclass whose `validate_*` methods are heard as they speak.

    huggingface_hub wraps what they raise into an error of its own that is no ValueError and names the method first.
    """
    config_class = strict(config_class)
    config_class.__init__ = _raising_causes(config_class.__init__)
    return config_class


def _raising_causes(construct: Callable[..., None]) -> Callable[..., None]:
    @wraps(construct)
    def construct_plainly(self: VidModelsConfig, *args: Any, **kwargs: Any) -> None:
        try:
            construct(self, *args, **kwargs)
        except StrictDataclassClassValidationError as error:
            raise error.__cause__ from None

    return construct_plainly
