"""The rows of tasks and methods agree with the files, and one more row is enough for a task or a method."""

import ast
import inspect
import json
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoModelForImageClassification
from transformers.pipelines import PIPELINE_REGISTRY

import hf_vidmodels
from hf_vidmodels import auto, configuration, modeling, processing, tasks
from hf_vidmodels.auto import AUTO_CLASSES, METHODS, register_method, task_of
from hf_vidmodels.conversion.convert_checkpoint import converted_methods
from hf_vidmodels.data.contracts import task_contract
from hf_vidmodels.methods import Method
from hf_vidmodels.tasks import TASKS, resolve
from hf_vidmodels.training.recipe_lookup import recipe_class, trained_methods
from script_runs import run_here

PACKAGE = Path(hf_vidmodels.__file__).parent
PLACES = ("check_contents", "draw_examples", "pipeline", "evaluate", "find_inputs", "predict")
TWO_HEADS = Path(__file__).parent / "two_heads"


def stems(room, prefix):
    return {path.stem.removeprefix(prefix) for path in (PACKAGE / room).glob(f"{prefix}*.*")}


def test_the_table_of_tasks_imports_nothing_heavy():
    tree = ast.parse(inspect.getsource(tasks))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported <= sys.stdlib_module_names | {"collections.abc"}


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_everything_that_a_row_names_is_there(task):
    named = [getattr(task, place) for place in PLACES if getattr(task, place) is not None]
    assert all(callable(resolve(place)) for place in named)
    assert (task.find_inputs is None) == (task.predict is None)
    assert task.instances is None or task_contract(task.name).column(task.instances) is not None
    assert AUTO_CLASSES[task.name].__name__ == task.auto_class


def test_every_place_in_a_row_is_looked_at_by_these_tests():
    texts = {field.name for field in fields(tasks.Task) if field.type in ("str", "str | None", str, str | None)}
    names = {"name", "answer", "auto_class", "contract", "instances", "pipeline_kind", "draws_with"}
    assert texts - names == set(PLACES)


# Recipes, with cards of their own, for a second task of a method.
FURTHER_RECIPES = {"collaborative_memory_detection": "collaborative_memory"}


def test_a_methods_files_and_its_row_agree():
    rows = {method.stem for method in METHODS}
    assert stems("configuration", "configuration_") - {"base", "backbones", "i3d", "vit"} == rows
    assert stems("modeling", "modeling_") - {"base"} == rows
    assert stems("processing", "processing_") - {"base"} == rows
    assert stems("hub/cards", "") == rows | set(FURTHER_RECIPES)
    assert stems("training/recipes", "recipe_") == set(trained_methods()) <= rows | set(FURTHER_RECIPES)
    assert stems("conversion", "convert_") - {"checkpoint"} == set(converted_methods()) <= rows
    assert {path.parent.name for path in (PACKAGE / "training" / "recipes").glob("*/*.yaml")} == set(
        trained_methods()
    ) - set(FURTHER_RECIPES)


@pytest.mark.parametrize("stem", trained_methods())
def test_a_recipe_is_found_by_its_stem_and_is_for_a_task_of_its_method(stem):
    recipe = recipe_class(stem)
    assert recipe.method == stem
    assert recipe.task in next(method.models for method in METHODS if method.stem == FURTHER_RECIPES.get(stem, stem))


def test_public_names_are_those_of_the_methods_and_our_own_auto_classes():
    for method in METHODS:
        assert {method.config, method.processor, *method.models.values()} <= set(hf_vidmodels.__all__)
    assert set(auto.OWN_AUTO_CLASSES) <= set(hf_vidmodels.__all__)
    assert hf_vidmodels.AutoModelForMaskLabeling is AUTO_CLASSES["mask-labeling"]


def test_object_localization_has_one_name_and_answers_to_its_former_one():
    assert PIPELINE_REGISTRY.check_task("attention-localization")[0] == "object-localization"


# -- a method with two models, one of them for a task of its own


@pytest.fixture(scope="module")
def two_heads():
    """The toy method and task of tests/two_heads, as rows of the tables."""
    patch = pytest.MonkeyPatch()
    for room in (configuration, modeling, processing):
        patch.setattr(room, "__path__", [*room.__path__, str(TWO_HEADS)])
    from two_heads import picture_counting

    row = picture_counting.ROW
    patch.setitem(TASKS, row.name, row)
    patch.setitem(AUTO_CLASSES, row.name, auto.auto_class_of(row))
    method = Method(
        stem="two_heads",
        config="TwoHeadsConfig",
        processor="TwoHeadsImageProcessor",
        models={
            "image-classification": "TwoHeadsForImageClassification",
            "picture-counting": "TwoHeadsForPictureCounting",
        },
    )
    patch.setattr(auto, "METHODS", (*METHODS, method))
    register_method(method)
    yield method
    patch.undo()


@pytest.fixture(scope="module")
def checkpoints(two_heads, tmp_path_factory):
    """A checkpoint of either model, by the name of its class."""
    folders = {}
    for model_class in auto.task_classes(two_heads).values():
        torch.manual_seed(0)
        folders[model_class.__name__] = folder = tmp_path_factory.mktemp(model_class.__name__)
        model_class(two_heads.config_class(id2label={0: "ball", 1: "cup"})).save_pretrained(folder)
        two_heads.processor_class().save_pretrained(folder)
    return folders


@pytest.fixture
def pictures(tmp_path):
    """Pictures of a split, a table of what is in them, and an unreadable one elsewhere."""
    folder = tmp_path / "corpus" / "test"
    folder.mkdir(parents=True)
    lines = []
    for number in range(5):
        pixels = np.random.default_rng(number).integers(0, 256, (10, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", "count": number}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


def test_a_checkpoint_opens_as_the_model_that_its_architectures_name(two_heads, checkpoints):
    counting = AUTO_CLASSES["picture-counting"]
    for name, folder in checkpoints.items():
        assert type(AutoModel.from_pretrained(folder)).__name__ == name
        assert type(counting.from_pretrained(folder)).__name__ == "TwoHeadsForPictureCounting"
    config = {name: two_heads.config_class.from_pretrained(folder) for name, folder in checkpoints.items()}
    assert task_of(config["TwoHeadsForImageClassification"]) == "image-classification"
    assert task_of(config["TwoHeadsForPictureCounting"]) == "picture-counting"


def test_without_architectures_it_is_the_primary_model(two_heads):
    config = two_heads.config_class()
    assert type(AutoModel.from_config(config)) is two_heads.primary_class
    assert type(AutoModelForImageClassification.from_config(config)) is two_heads.primary_class
    assert task_of(config) == "image-classification"
    assert "architectures" not in json.loads(config.to_json_string())


def test_the_commands_do_a_new_task(checkpoints, pictures, tmp_path):
    model, corpus, out = checkpoints["TwoHeadsForPictureCounting"], pictures.parent, tmp_path / "out"
    done = run_here("check_dataset.py", "--dataset_name", corpus, "--task", "picture-counting", "--output_dir", out)
    assert done.status == 0, done.stdout + done.stderr
    assert (out / "test.png").is_file()
    done = run_here("evaluate.py", "--model", model, "--dataset_name", corpus, "--output_dir", out)
    assert done.status == 0, done.stderr
    assert 0 < json.loads((out / "metrics.json").read_text())["metrics"]["closeness"] <= 1
    done = run_here("predict.py", "--model", model, "--input", pictures, "--output_dir", out, "--at_most", 0)
    assert done.status == 0, done.stderr
    assert json.loads((out / "counts.json").read_text()) == {f"{number}.png": 0 for number in range(5)}


def test_options_of_a_new_task_are_refused_for_others(checkpoints, pictures, tmp_path):
    words = ("--model", checkpoints["TwoHeadsForImageClassification"], "--input", pictures)
    done = run_here("predict.py", *words, "--output_dir", tmp_path / "out", "--at_most", 3)
    assert done.status == 2
    assert "--at_most is for picture-counting, but" in done.stderr


def test_a_task_that_a_command_does_not_do_is_said_so(tmp_path):
    from method_examples import l2_caf_config

    model = tmp_path / "model"
    hf_vidmodels.L2CafForObjectLocalization(l2_caf_config()).save_pretrained(model)
    words = ("--model", model, "--dataset_name", "embedded/objects", "--output_dir", tmp_path / "out")
    done = run_here("evaluate.py", *words)
    assert done.status == 2 and "is for object-localization, but this command runs: image-class" in done.stderr
