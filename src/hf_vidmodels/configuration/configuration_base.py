"""What all configurations share: presets, a warning for unknown keys, and safe sharing of package classes.

Rules of transformers 5 that this builds on: a configuration is a strict dataclass (`@strict_config` on each subclass),
every `validate_*` method runs after construction, and keys that are no field become attributes without a word.
"""

import copy
import difflib
import logging
import os
from collections.abc import Callable
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

    def _warn_of_unknown_keys(self, kwargs: dict[str, Any]) -> None:
        known = {field.name for field in fields(self)} | KEYS_OF_TRANSFORMERS
        for key in sorted(set(kwargs) - known):
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            logger.warning("%s has no field %r, it is kept but has no effect%s", type(self).__name__, key, hint)


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
