"""What transformers' Auto classes know of a method: entries in their tables.

A table of transformers holds the name of a class and imports it on use; configurations and models are entered in the
same way, so that nothing of ours is imported for it. With `auto.py` this is the only file that touches private names
of transformers: they have moved between releases before.
"""

from collections.abc import Mapping
from typing import Any

from .methods import Method, kind_of_processor


def enter_config(method: Method) -> None:
    """Enter a method's configuration in the table of `AutoConfig`.

    Raises:
        ValueError: when transformers has a model of this type itself.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING, model_type_to_module_name

    if method.model_type in CONFIG_MAPPING:
        raise ValueError(
            f"model_type {method.model_type!r} of {method.config} is taken: transformers knows it already"
        )
    CONFIG_MAPPING._mapping[method.model_type] = method.config
    CONFIG_MAPPING._modules[model_type_to_module_name(method.model_type)] = _Classes(method)


def enter_models(method: Method, auto_classes: Mapping[str, Any]) -> None:
    """Enter a method's models in the table of `AutoModel` and in those of its tasks.

    Args:
        method: of the models.
        auto_classes: the Auto class of each task; other tasks are passed over.
    """
    from transformers.models.auto.modeling_auto import AutoModel

    names = tuple(dict.fromkeys(method.models.values()))
    # Of several classes transformers chooses the one that the configuration's `architectures` name.
    enter_model(AutoModel, method, names[0] if len(names) == 1 else names)
    for task, name in method.models.items():
        if task in auto_classes:
            enter_model(auto_classes[task], method, name)


def enter_model(auto_class: Any, method: Method, names: str | tuple[str, ...]) -> None:
    """Enter a method's model in the table of one Auto class.

    Args:
        auto_class: of transformers or our own.
        method: of the model.
        names: of the model class, or of those to choose from.
    """
    from transformers.models.auto.configuration_auto import model_type_to_module_name

    table = auto_class._model_mapping
    table._reverse_config_mapping[method.config] = method.model_type
    table._model_mapping[method.model_type] = names
    table._modules[model_type_to_module_name(method.model_type)] = _Classes(method)


def register_processor(method: Method, auto_class: Any) -> None:
    """Register a method's processor with an Auto class, if it is of its kind.

    Raises:
        ValueError: the processor is of no known kind.
    """
    kind = kind_of_processor(method.processor_class)[0]
    if auto_class.__name__ == "AutoVideoProcessor" and kind == "AutoImageProcessor":
        # Known to have none: pipelines look for one besides, guess its class in the repository's code, and would ask
        # whether that code may run.
        auto_class.register(method.config_class, video_processor_classes={})
    # Without it AutoProcessor tries one kind after another and asks about the repository's code on the way.
    if auto_class.__name__ not in ("AutoProcessor", kind):
        return
    if auto_class.__name__ == "AutoImageProcessor":
        auto_class.register(method.config_class, image_processor_classes={"torchvision": method.processor_class})
    else:
        auto_class.register(method.config_class, method.processor_class)


class _Classes:
    """Stands where transformers expects the module of a model: gives a method's classes by name."""

    def __init__(self, method: Method) -> None:
        self._method = method

    def __getattr__(self, name: str) -> Any:
        if name not in self._method.rooms:
            raise AttributeError(f"{self._method.stem} has no class {name}")
        return self._method.load(name)
