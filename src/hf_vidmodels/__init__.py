"""Published video and vision methods as Hugging Face models.

Importing this package registers every method with transformers' Auto classes, so that
`AutoModel.from_pretrained("org/asm-loc-thumos")` and `pipeline("temporal-action-localization", ...)` work. Its public
names are the classes in the rows of `methods.METHODS` and the Auto classes of `tasks.TASKS`, such as
`AutoModelForMaskLabeling`; each is imported when it is first used, and PyTorch with it.
"""

from typing import Any

from .__about__ import __version__
from .methods import METHODS
from .registration import register_all
from .tasks import TASKS

_METHOD_OF_NAME = {name: method for method in METHODS for name in method.rooms}
_TASK_OF_AUTO_CLASS = {task.auto_class: name for name, task in TASKS.items()}
__all__ = ["__version__", *sorted({*_METHOD_OF_NAME, *_TASK_OF_AUTO_CLASS})]


def __getattr__(name: str) -> Any:
    if name in _METHOD_OF_NAME:
        return _METHOD_OF_NAME[name].load(name)
    if name in _TASK_OF_AUTO_CLASS:
        from .auto import AUTO_CLASSES

        return AUTO_CLASSES[_TASK_OF_AUTO_CLASS[name]]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register_all()
