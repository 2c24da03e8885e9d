"""The Auto class of every task, transformers' or our own, and what is found by them: rows of `METHODS` and `TASKS`.

Loaded on use, because transformers' Auto classes load PyTorch; `registration.py` says when.
"""

from collections import OrderedDict
from importlib.util import resolve_name

import transformers
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto.auto_factory import _BaseAutoModelClass, _LazyAutoMapping
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from .methods import METHODS, PROCESSOR_KINDS, Method
from .table_entries import enter_config, enter_models, register_processor
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
for _method in METHODS:
    enter_models(_method, AUTO_CLASSES)


def task_classes(method: Method) -> dict[type, type[PreTrainedModel]]:
    """Give the model class of a method for each of its tasks, by Auto class."""
    return {AUTO_CLASSES[task]: method.load(name) for task, name in method.models.items()}


def register_method(method: Method) -> None:
    """Make a method known that has no row in `METHODS`.

    Raises:
        ValueError: the `model_type` is taken, or the processor is of no known kind.
    """
    enter_config(method)
    enter_models(method, AUTO_CLASSES)
    for _, auto_class, _ in PROCESSOR_KINDS:
        register_processor(method, getattr(transformers, auto_class))


def register_pipeline(task: Task) -> None:
    """Register a task's pipeline, if it has one of its own; it takes the place of one of transformers."""
    from transformers.pipelines import PIPELINE_REGISTRY

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
