"""Which class trains which method: the one table, and how a recipe of one's own is named."""

import importlib
from difflib import get_close_matches

from .recipe import Recipe

RECIPES = {
    "asm_loc": "hf_vidmodels.training.recipes.recipe_asm_loc:AsmLocRecipe",
    "mal": "hf_vidmodels.training.recipes.recipe_mal:MalRecipe",
}


def recipe_class(method: str) -> type[Recipe]:
    """Return the recipe class of a method.

    Args:
        method: a key of `RECIPES`, or `module:Class` of an importable recipe of your own.

    Raises:
        ValueError: when there is no such method, module or class, or the class is not a `Recipe`.
    """
    location = RECIPES.get(method, method)
    module_name, _, class_name = location.partition(":")
    if not class_name:
        near = get_close_matches(method, RECIPES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known methods: {', '.join(sorted(RECIPES))}"
        raise ValueError(f"Unknown method {method!r} in the recipe ({hint}); your own recipe is named 'module:Class'.")
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
