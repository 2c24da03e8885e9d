"""Registration with transformers, put off until the tables that methods and tasks are entered in are loaded.

transformers loads the modules of its Auto classes when they are first used. Ours are entered right after such a module
was executed, so that `import hf_vidmodels` imports neither transformers nor PyTorch.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from .methods import METHODS
from .table_entries import enter_config, enter_models, register_processor
from .tasks import TASKS

AUTO_MODULES = "transformers.models.auto."
MODULE_OF_AUTO_CLASS = {
    "AutoFeatureExtractor": f"{AUTO_MODULES}feature_extraction_auto",
    "AutoImageProcessor": f"{AUTO_MODULES}image_processing_auto",
    "AutoVideoProcessor": f"{AUTO_MODULES}video_processing_auto",
    "AutoProcessor": f"{AUTO_MODULES}processing_auto",
}


def register_all() -> None:
    """Make every method and task known to transformers; importing the package calls this once."""
    after_import(f"{AUTO_MODULES}configuration_auto", lambda module: [enter_config(method) for method in METHODS])
    after_import(f"{AUTO_MODULES}modeling_auto", enter_models_of_transformers)
    for name, auto_module in MODULE_OF_AUTO_CLASS.items():
        after_import(auto_module, lambda module, name=name: register_processors(getattr(module, name)))
    after_import("transformers.pipelines", register_pipelines)


def enter_models_of_transformers(modeling_auto: ModuleType) -> None:
    """Enter all models in the tables of those Auto classes that transformers has; `auto.py` does so for ours."""
    known = {name: getattr(modeling_auto, task.auto_class, None) for name, task in TASKS.items()}
    for method in METHODS:
        enter_models(method, {task: auto_class for task, auto_class in known.items() if auto_class is not None})


def register_processors(auto_class: Any) -> None:
    """Register the processors of all methods that are of the kind of an Auto class."""
    for method in METHODS:
        register_processor(method, auto_class)


def register_pipelines(pipelines: ModuleType) -> None:
    """Register the pipelines of all tasks that have one of their own with `transformers.pipelines`."""
    from .auto import register_pipeline

    for task in TASKS.values():
        register_pipeline(task)
    # The name of object localisation's pipeline in earlier releases.
    pipelines.PIPELINE_REGISTRY.task_aliases["attention-localization"] = "object-localization"


def after_import(name: str, action: Callable[[ModuleType], Any]) -> None:
    """Call `action` with a module: at once when it is loaded, or right after it was executed."""
    if name in sys.modules:
        action(sys.modules[name])
    else:
        sys.meta_path.insert(0, _AfterImport(name, action))


class _AfterImport(MetaPathFinder):
    """Finds one module as usual and calls an action when it was executed."""

    def __init__(self, name: str, action: Callable[[ModuleType], Any]) -> None:
        self.name, self.action = name, action

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Give the usual specification, with a loader that calls the action."""
        spec = PathFinder.find_spec(name, path, target) if name == self.name else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_act(module: ModuleType) -> None:
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            self.action(module)

        spec.loader.exec_module = execute_and_act
        return spec
