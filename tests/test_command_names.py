"""`hf-vidmodels COMMAND`: names, help, and what is handed over to the launcher."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hf_vidmodels import __main__ as program
from hf_vidmodels.commands.launching.launcher import find_launcher_file, included_files, split_off_launcher_options
from script_runs import environment

TOY_FOLDER = Path(__file__).parent / "training"


# In this order, in one process: each loads what the ones before it did.
HEAVY_MODULES = ("torch", "torchvision", "accelerate", "datasets", "matplotlib", "av", "transformers", "numpy", "PIL")
LOADED_BY_HELP = {name: [] for name in ("", *program.COMMANDS) if name != "check"} | {"check": ["numpy", "PIL"]}


def call_python(*words):
    """Run Python in a process of its own on a program, or on `-m` and its words."""
    paths = os.pathsep.join(filter(None, (str(TOY_FOLDER), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, *(["-c"] if len(words) == 1 else []), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(PYTHONPATH=paths), timeout=180)


def call(*words):
    """Run the program in a process of its own."""
    return call_python("-m", "hf_vidmodels", *words)


def test_the_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as stop:
        program.main(["--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    commands = ["train", "evaluate", "predict", "label", "extract", "check", "convert", "push", "card", "env"]
    assert commands == list(program.COMMANDS)
    assert all(f"\n  {name} " in printed for name in commands)


@pytest.mark.parametrize("name", list(program.COMMANDS))
def test_every_command_explains_itself_under_its_own_name(name, capsys):
    with pytest.raises(SystemExit) as stop:
        program.main([name, "--help"])
    assert stop.value.code == 0
    assert f"usage: hf-vidmodels {name} " in " ".join(capsys.readouterr().out.split())


def test_a_mistyped_command_is_answered_with_the_nearest(capsys):
    with pytest.raises(SystemExit) as stop:
        program.main(["trian"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: hf-vidmodels has no command 'trian'; did you mean train?\n"


def test_the_report_names_versions_and_decoders_but_nobody(capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    monkeypatch.setenv("USER", "jane_of_the_lab")
    program.main(["env"])
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("hf_vidmodels", "transformers", "libavcodec", "CPU", "matplotlib"))
    assert not any(word in printed for word in ("hf_secret", "jane_of_the_lab", str(Path.home())))


def test_the_start_of_a_command_loads_neither_pytorch_nor_what_its_work_needs():
    done = call_python(
        "import json, sys\n"
        "from hf_vidmodels.__main__ import main\n"
        f"heavy, loaded = {HEAVY_MODULES!r}, {{}}\n"
        f"for name in {list(LOADED_BY_HELP)!r}:\n"
        "    try:\n"
        "        main([*name.split(), '--help'])\n"
        "    except SystemExit:\n"
        "        loaded[name] = [module for module in heavy if module in sys.modules]\n"
        "print(json.dumps(loaded))\n"
    )
    assert json.loads(done.stdout.splitlines()[-1]) == LOADED_BY_HELP


def test_options_of_the_launcher_are_told_from_those_of_the_command():
    own = ["--recipe", "r", "--mixed_precision", "bf16", "--output_dir", "o"]
    words = [*own[:2], "--num_processes", "2", *own[2:], "--config_file", "cpu_two_processes"]
    options = {"num_processes": "2", "config_file": "cpu_two_processes"}
    assert split_off_launcher_options(words) == (options, own)
    assert split_off_launcher_options(own) == ({}, own)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--num_processes", "two"], "--num_processes: invalid int value: 'two'"),
        (["--num_processes", "0"], "--num_processes must be at least 1, got 0"),
        (["--num_processes"], "--num_processes: expected one argument"),
    ],
)
def test_launcher_options_that_do_not_fit_are_told(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        split_off_launcher_options(words)


def test_launcher_files_are_found_by_name_and_by_path(tmp_path):
    assert find_launcher_file("multi_gpu") == included_files()["multi_gpu"]
    own = tmp_path / "own.yaml"
    own.touch()
    assert find_launcher_file(str(own)) == own
    with pytest.raises(FileNotFoundError, match="no launcher file nothing; give a YAML file or one of cpu_two_proc"):
        find_launcher_file("nothing")


def test_two_processes_train_together_and_their_error_stands_without_a_traceback(tmp_path):
    recipe = tmp_path / "toy.yaml"
    recipe.write_text(
        "method: toy_recipe:ToyRecipe\nnum_train_epochs: 1\nper_device_train_batch_size: 3\nlearning_rate: 0.05\n"
        "disable_tqdm: true\ndataset_name: toy\n"
    )
    words = ("train", "--recipe", recipe, "--output_dir", tmp_path / "run", "--config_file", "cpu_two_processes")
    done = call(*words)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["world_size"] == 2
    again = call(*words[:-2], "--num_processes", 1)
    assert again.returncode == 2
    assert again.stderr.startswith("error: output_dir")
    assert "Traceback" not in again.stderr
