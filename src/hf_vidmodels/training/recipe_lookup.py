"""Which class trains which method: it is found by the method's stem, or named as `module:Class`."""

import importlib
import inspect
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .recipe import Recipe

PREFIX = "recipe_"
RECIPES_FOLDER = Path(__file__).parent / "recipes"


def trained_methods() -> list[str]:
    """Give the stems of the methods that have a recipe, a module `recipes/recipe_<stem>.py`."""
    return sorted(path.stem.removeprefix(PREFIX) for path in RECIPES_FOLDER.glob(f"{PREFIX}*.py"))


def recipe_class(method: str) -> type["Recipe"]:
    """Return the recipe class of a method.

    Args:
        method: the stem of a method of the package, or `module:Class` of an importable recipe of your own.

    Raises:
        ValueError: when there is no such method, module or class, or the class is not a `Recipe`.
    """
    if method in trained_methods():
        return _recipe_in(f"{__package__}.recipes.{PREFIX}{method}", method)
    module_name, _, class_name = method.partition(":")
    if not class_name:
        near = get_close_matches(method, trained_methods(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known methods: {', '.join(trained_methods())}"
        raise ValueError(f"Unknown method {method!r} in the recipe ({hint}); your own recipe is named 'module:Class'.")
    from .recipe import Recipe

    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ValueError(
            f"The recipe's method {method!r} names the module {error.name!r}, which is not importable."
        ) from error
    except AttributeError as error:
        raise ValueError(f"The recipe's method {method!r} names a class that {module_name} does not have.") from error
    if not (isinstance(found, type) and issubclass(found, Recipe)):
        raise ValueError(f"The recipe's method {method!r} is not a subclass of hf_vidmodels.training.recipe.Recipe.")
    return found


def _recipe_in(module_name: str, method: str) -> type["Recipe"]:
    """Give the one recipe class that a module defines for the method."""
    from .recipe import Recipe

    module = importlib.import_module(module_name)
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and value.__module__ == module_name and getattr(value, "method", None) == method
    ]
    if len(found) != 1 or not issubclass(found[0], Recipe):
        raise ValueError(f"{module_name} must define one Recipe with method = {method!r}, found {len(found)} classes")
    return found[0]
