"""What all configurations share: presets, a warning for unknown keys, and safe sharing of package classes.

Rules of transformers 5 that this builds on: a configuration is a strict dataclass (`@strict_config` on each subclass),
every `validate_*` method runs after construction, and keys that are no field become attributes without a word.
"""

import copy
import difflib
import logging
import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import wraps
from typing import Any, ClassVar

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

    Class attributes:
        presets: published settings by name, each a dict of the fields that differ from the defaults.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {}

    def __post_init__(self, **kwargs: Any) -> None:
        """Turn tuples into lists of its own, so that it equals itself after JSON, and name unknown keys."""
        self._warn_of_unknown_keys(kwargs)
        for field in fields(self):
            if isinstance(value := getattr(self, field.name), tuple | list):
                setattr(self, field.name, copy.deepcopy(list(value)))
        super().__post_init__(**kwargs)
        # Auto classes that choose among a method's models look through the list.
        self.architectures = self.architectures or []

    def to_dict(self) -> dict[str, Any]:
        """Give all fields; `architectures` is None until a model was saved with the configuration."""
        values = super().to_dict()
        return values | {"architectures": values["architectures"] or None}

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> "VidModelsConfig":
        """Make the configuration of a published setting.

        Args:
            name: a key of `presets`.
            overrides: fields that win over the preset.

        Raises:
            ValueError: for a name that is no preset; the message lists those there are.
        """
        if name not in cls.presets:
            known = ", ".join(sorted(cls.presets)) or "none"
            raise ValueError(f"{cls.__name__} has no preset {name!r}; there are: {known}")
        return cls(**{**cls.presets[name], **overrides})

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

    def _warn_of_unknown_keys(self, kwargs: dict[str, Any]) -> None:
        known = {field.name for field in fields(self)} | KEYS_OF_TRANSFORMERS
        for key in sorted(set(kwargs) - known):
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            logger.warning("%s has no field %r, it is kept but has no effect%s", type(self).__name__, key, hint)


def _numbers_in(value: Any) -> Iterator[int | float]:
    """Give a number, or those in nested lists and dicts."""
    if isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _numbers_in(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


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
