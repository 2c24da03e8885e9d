"""The one table of methods, their registration with transformers' Auto classes, and our own Auto classes.

An eleventh method is one more row of `METHODS`; a task is a row of `tasks.TASKS`. This is the only file that touches
private names of transformers (`_BaseAutoModelClass`, `_LazyAutoMapping`, `_model_mapping`): they have moved between
releases before.
"""

import importlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import resolve_name
from typing import Any

import transformers
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModel,
    AutoProcessor,
    AutoVideoProcessor,
    FeatureExtractionMixin,
    ImageProcessingMixin,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.models.auto.auto_factory import _BaseAutoModelClass, _LazyAutoMapping
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.video_processing_utils import BaseVideoProcessor

from .tasks import TASKS, Task, resolve


def auto_class_of(task: Task) -> type:
    """Give transformers' Auto class of a task, or make ours."""
    if hasattr(transformers, task.auto_class):
        return getattr(transformers, task.auto_class)
    content = {
        "__doc__": f"Loads any model that answers with {task.answer}.",
        "__module__": __name__,
        "_model_mapping": _LazyAutoMapping(CONFIG_MAPPING_NAMES, OrderedDict()),
    }
    return type(task.auto_class, (_BaseAutoModelClass,), content)


# By task.
AUTO_CLASSES = {name: auto_class_of(task) for name, task in TASKS.items()}
# Those that transformers does not have, by their own names.
OWN_AUTO_CLASSES = {found.__name__: found for found in AUTO_CLASSES.values() if found.__module__ == __name__}

# Kind of processor, the Auto class that loads it and the file it is saved in. Video processors are image processors.
PROCESSOR_KINDS: tuple[tuple[type, type, str], ...] = (
    (ProcessorMixin, AutoProcessor, "processor_config.json"),
    (BaseVideoProcessor, AutoVideoProcessor, "video_preprocessor_config.json"),
    (ImageProcessingMixin, AutoImageProcessor, "preprocessor_config.json"),
    (FeatureExtractionMixin, AutoFeatureExtractor, "preprocessor_config.json"),
)


@dataclass(frozen=True)
class Method:
    """One row: everything transformers must know of a method.

    Args:
        stem: the name in file names (`modeling_<stem>.py`) and recipes.
        config: name of the configuration class in `configuration_<stem>.py`; it carries the `model_type`.
        processor: name of the processor class in `processing_<stem>.py`; its Auto class follows from its kind.
        models: names of the model classes in `modeling_<stem>.py` by task. `AutoModel` gives the one that a checkpoint
            names in its `architectures`, and without such a name the first, the primary class.
    """

    stem: str
    config: str
    processor: str
    models: Mapping[str, str]

    @cached_property
    def config_class(self) -> type[PreTrainedConfig]:
        """The configuration class."""
        return self._defined("configuration", self.config)

    @cached_property
    def processor_class(self) -> type:
        """The processor class."""
        return self._defined("processing", self.processor)

    @cached_property
    def processor_auto_class(self) -> type:
        """The Auto class of the processor's kind, such as `AutoVideoProcessor`."""
        return kind_of_processor(self.processor_class)[0]

    @cached_property
    def task_classes(self) -> dict[type, type[PreTrainedModel]]:
        """By the Auto class of each of its tasks the model class that it gives."""
        return {AUTO_CLASSES[task]: self._defined("modeling", name) for task, name in self.models.items()}

    @cached_property
    def primary_class(self) -> type[PreTrainedModel]:
        """The model class that `AutoModel` gives when nothing says otherwise."""
        return next(iter(self.task_classes.values()))

    def _defined(self, room: str, name: str) -> Any:
        return getattr(importlib.import_module(f".{room}.{room}_{self.stem}", __package__), name)


METHODS = (
    Method(
        stem="asm_loc",
        config="AsmLocConfig",
        processor="AsmLocProcessor",
        models={"temporal-action-localization": "AsmLocForTemporalActionLocalization"},
    ),
    Method(
        stem="l2_caf",
        config="L2CafConfig",
        processor="L2CafImageProcessor",
        models={"object-localization": "L2CafForObjectLocalization"},
    ),
    Method(
        stem="mal",
        config="MalConfig",
        processor="MalImageProcessor",
        models={"mask-labeling": "MalForMaskLabeling"},
    ),
    Method(
        stem="stts",
        config="SttsConfig",
        processor="SttsVideoProcessor",
        models={"video-classification": "SttsForVideoClassification"},
    ),
)


def register_all() -> None:
    """Make every method and task known to transformers; importing the package calls this once.

    Raises:
        ValueError: when a future transformers release uses one of our `model_type`s itself.
    """
    for method in METHODS:
        register_method(method)
    for task in TASKS.values():
        register_pipeline(task)
    # The name of object localisation's pipeline in earlier releases.
    PIPELINE_REGISTRY.task_aliases["attention-localization"] = "object-localization"


def register_method(method: Method) -> None:
    """Register a method's configuration, models and processor with the Auto classes.

    Raises:
        ValueError: the `model_type` is taken, or the processor is of no known kind.
    """
    AutoConfig.register(method.config_class.model_type, method.config_class)
    models = tuple(dict.fromkeys(method.task_classes.values()))
    # Of several classes transformers chooses the one that the configuration's `architectures` name; its public
    # `register` takes only one.
    AutoModel._model_mapping.register(method.config_class, models[0] if len(models) == 1 else models)
    for auto_class, model_class in method.task_classes.items():
        auto_class.register(method.config_class, model_class)
    # Without it AutoProcessor tries one kind after another and asks about the repository's code on the way.
    AutoProcessor.register(method.config_class, method.processor_class)
    if method.processor_auto_class is AutoImageProcessor:
        AutoImageProcessor.register(
            method.config_class, image_processor_classes={"torchvision": method.processor_class}
        )
    elif method.processor_auto_class is not AutoProcessor:
        method.processor_auto_class.register(method.config_class, method.processor_class)


def register_pipeline(task: Task) -> None:
    """Register a task's pipeline, if it has one of its own; it takes the place of one of transformers."""
    if task.pipeline is None:
        return
    known = PIPELINE_REGISTRY.supported_tasks.get(task.name)
    if known is not None:
        # Releases of transformers that name their classes import them on use, because they load PyAV.
        module, _, name = task.pipeline.partition(":")
        is_named = isinstance(known["impl"], str)
        known["impl"] = f"{resolve_name(module, __package__)}.{name}" if is_named else resolve(task.pipeline)
    else:
        PIPELINE_REGISTRY.register_pipeline(
            task.name,
            pipeline_class=resolve(task.pipeline),
            pt_model=AUTO_CLASSES[task.name],
            type=task.pipeline_kind,
        )


def kind_of_processor(processor_class: type) -> tuple[type, str]:
    """Give the Auto class that loads a processor, and the file it is saved in.

    Raises:
        ValueError: it is no processor of transformers.
    """
    for base, auto_class, file_name in PROCESSOR_KINDS:
        if issubclass(processor_class, base):
            return auto_class, file_name
    raise ValueError(f"{processor_class.__name__} is no processor of transformers, so no Auto class could load it")


def method_of(config: PreTrainedConfig) -> Method:
    """Find the row of a configuration.

    Raises:
        ValueError: when the configuration belongs to no method of this package.
    """
    for method in METHODS:
        if method.config_class.model_type == config.model_type:
            return method
    known = ", ".join(method.config_class.model_type for method in METHODS)
    raise ValueError(f"model_type {config.model_type!r} is no method of hf_vidmodels; there are: {known}")


def task_of(config: PreTrainedConfig) -> str:
    """Give the name of a checkpoint's task, of this package or of transformers, by its `architectures`.

    A configuration of this package without `architectures` has the task of its method's primary class.

    Raises:
        ValueError: when the model answers none of the tasks, or the configuration does not say which class it is for.
    """
    names = config.architectures or [_primary_name(config)]
    for task, auto_class in AUTO_CLASSES.items():
        found = auto_class._model_mapping.get(type(config), ())
        classes = found if isinstance(found, tuple | list) else (found,)
        if any(model_class.__name__ in names for model_class in classes):
            return task
    known = ", ".join(TASKS)
    raise ValueError(f"model_type {config.model_type!r} with {' and '.join(names)} is for none of the tasks {known}")


def _primary_name(config: PreTrainedConfig) -> str:
    return method_of(config).primary_class.__name__
