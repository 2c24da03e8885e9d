"""A method of docs/adding_a_method.md: its files and one row in a copy of the package, and every command knows it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import hf_vidmodels
from script_runs import environment

TOY = Path(__file__).parent / "toy_method"
ROW = (TOY / "row.txt").read_text()
PACKAGE = Path(hf_vidmodels.__file__).parent
COLORS = {"blue": (40, 60, 220), "red": (220, 50, 40)}
RUN_COMMANDS = """
import json, sys
from hf_vidmodels.__main__ import run_command
for words in json.loads(sys.argv[1]):
    run_command(words[0], words[1:])
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of the package with the toy's files and its row."""
    folder = tmp_path_factory.mktemp("source")
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, folder / "hf_vidmodels", ignore=skipped)
    shutil.copytree(TOY, folder / "hf_vidmodels", dirs_exist_ok=True, ignore=skipped)
    table = folder / "hf_vidmodels" / "methods.py"
    before, after = table.read_text().split("METHODS = (\n")
    table.write_text(f"{before}METHODS = (\n{ROW}{after}")
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Noisy red and blue pictures in folders of splits and classes."""
    folder, generator = tmp_path_factory.mktemp("corpus"), np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 3)):
        for name, color in COLORS.items():
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(color + generator.normal(0, 30, (24, 32, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def done(package, corpus, tmp_path_factory):
    """The folder in which every command has done its part, one after the other in one process."""
    folder = tmp_path_factory.mktemp("done")
    generator = torch.Generator().manual_seed(0)
    official = {"fc.weight": torch.randn(2, 27, generator=generator), "fc.bias": torch.randn(2, generator=generator)}
    save_file(official, folder / "official.safetensors")
    (folder / "options.json").write_text(json.dumps({"cells": 3, "classes": 2}))
    run, picture = folder / "run", corpus / "test" / "red" / "0.png"
    commands = (
        ("train", "--recipe", "mean_color/colors", "--dataset_name", corpus, "--output_dir", run),
        ("evaluate", "--model", run, "--dataset_name", corpus, "--output_dir", folder / "evaluation"),
        ("predict", "--model", run, "--input", picture, "--output_dir", folder / "prediction"),
        (
            *("convert", "--method", "mean_color", "--checkpoint", folder / "official.safetensors"),
            *("--official_config", folder / "options.json", "--output_dir", folder / "converted"),
        ),
        ("card", f"toy={run}", "--output_dir", folder / "cards"),
    )
    words = json.dumps([[str(word) for word in command] for command in commands])
    ended = subprocess.run(
        [sys.executable, "-c", RUN_COMMANDS, words],
        env=environment(PYTHONPATH=str(package)),
        capture_output=True,
        text=True,
        timeout=240,
        cwd=folder,
    )
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-3000:]
    return folder


def test_a_method_in_a_known_task_is_its_files_and_one_row():
    assert len(ROW.splitlines()) == 6
    rooms = {path.parent.relative_to(TOY).parts[0] for path in TOY.rglob("*.*") if path.parent != TOY}
    assert rooms == {"configuration", "modeling", "processing", "conversion", "training", "hub"}
    model = (TOY / "modeling" / "modeling_mean_color.py").read_text()
    assert len(model[model.index("class ") :].splitlines()) <= 20


def test_the_page_quotes_the_files():
    page = (TOY.parents[1] / "docs" / "adding_a_method.md").read_text()
    quoted = re.findall(r"^```(?:python|yaml)\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    files = [*(path for path in TOY.rglob("*.*") if path.suffix != ".pyc"), PACKAGE / "methods.py"]
    lines = {line for path in files for line in path.read_text().splitlines()}
    assert len(quoted) >= 6
    assert [line for block in quoted for line in block.splitlines() if line not in lines] == []


def test_its_recipe_trains_it(done):
    metrics = json.loads((done / "run" / "metrics.json").read_text())
    assert metrics["task"] == "image-classification" and metrics["metrics"]["top1_accuracy"] == 1.0
    assert json.loads((done / "run" / "config.json").read_text())["id2label"] == {"0": "blue", "1": "red"}


def test_the_evaluation_of_its_checkpoint_is_that_of_training(done):
    values = [json.loads((done / place / "metrics.json").read_text()) for place in ("run", "evaluation")]
    assert values[0]["metrics"] == values[1]["metrics"]


def test_it_predicts(done):
    (answers,) = json.loads((done / "prediction" / "predictions.json").read_text()).values()
    assert answers[0]["label"] == "red"


def test_its_run_is_a_repository_with_code_and_a_card(done):
    assert (done / "run" / "modeling_mean_color.py").is_file() and (done / "run" / "README.md").is_file()
    assert "the mean colours of its cells" in (done / "cards" / "toy.md").read_text()


def test_its_converted_checkpoint_has_the_official_weights(done):
    official, ours = (load_file(done / name) for name in ("official.safetensors", "converted/model.safetensors"))
    assert torch.equal(ours["classifier.weight"], official["fc.weight"])
    assert json.loads((done / "converted" / "config.json").read_text())["grid_size"] == 3
