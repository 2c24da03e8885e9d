import re

import pytest

from hf_vidmodels.training.recipe_files import available_recipes, find_recipe, opening_of


@pytest.mark.parametrize("name", available_recipes())
def test_every_recipe_says_in_its_first_lines_how_long_it_takes_and_on_what(name):
    opening = opening_of(find_recipe(name))
    assert re.search(r"^Time: (about \w+ (seconds|minutes|hours) (on|of) |not run here; )\S", opening, re.MULTILINE), (
        opening
    )


def test_the_opening_of_a_recipe_is_its_first_comment_alone(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("# Two colours.\n#\n# Time: seconds.\nmethod: m\n# not this\n")
    assert opening_of(path) == "Two colours.\n\nTime: seconds."
