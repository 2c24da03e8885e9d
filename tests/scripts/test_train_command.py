"""The real command, in processes of its own where it is launched by several, killed, or launched wrongly."""

import json
import os
import random
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from safetensors.torch import load_file

from hf_vidmodels.commands.launching.launcher import included_files

ROOT = Path(__file__).parents[2]
TOY_FOLDER = ROOT / "tests" / "training"
TRAIN = str(ROOT / "scripts" / "train.py")
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch"]
TWO_PROCESSES = [*LAUNCH, "--config_file", str(included_files()["cpu_two_processes"])]
LAUNCHER_VARIABLES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A recipe file that trains the toy of tests/training."""
    path = tmp_path_factory.mktemp("recipe") / "toy.yaml"
    path.write_text(
        "method: toy_recipe:ToyRecipe\nnum_train_epochs: 3\nper_device_train_batch_size: 3\nlearning_rate: 0.05\n"
        "save_strategy: steps\nsave_steps: 2\nlogging_steps: 2\ndisable_tqdm: true\ndataset_name: toy\n"
    )
    return path


@pytest.fixture
def train_here(monkeypatch):
    """Return a function that runs the script in this process, which saves the seconds that imports take."""
    monkeypatch.syspath_prepend(TOY_FOLDER)
    for name in LAUNCHER_VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def run_script(*words):
        torch.set_num_threads(1)
        monkeypatch.setattr(sys, "argv", [TRAIN, *map(str, words)])
        try:
            runpy.run_path(TRAIN, run_name="__main__")
        finally:
            for shared in (AcceleratorState, GradientState, PartialState):
                shared._reset_state()

    return run_script


def environment(**changes):
    kept = {name: value for name, value in os.environ.items() if name not in LAUNCHER_VARIABLES}
    paths = os.pathsep.join(filter(None, (str(TOY_FOLDER), kept.get("PYTHONPATH"))))
    return kept | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **changes}


def call(command, *words, **changes):
    words = [*command, *map(str, words)]
    return subprocess.run(words, capture_output=True, text=True, env=environment(**changes), timeout=180)


def equal_weights(first, second):
    first, second = (load_file(folder / "model.safetensors") for folder in (first, second))
    return first.keys() == second.keys() and all(torch.equal(second[name], first[name]) for name in first)


def test_a_run_killed_three_times_at_random_ends_with_the_weights_of_an_uninterrupted_one(
    recipe, tmp_path, train_here
):
    folder = tmp_path / "killed"
    words = ["--recipe", recipe, "--output_dir", folder, "--resume_from_checkpoint", "last"]
    slow_command = list(map(str, [sys.executable, TRAIN, *words, "--step_seconds", "0.15"]))
    for _ in range(3):
        known = set(folder.glob("checkpoints/*-*"))
        process = subprocess.Popen(slow_command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        # Kill it within three steps after it has got on by one checkpoint.
        while process.poll() is None and not set(folder.glob("checkpoints/*-*")) - known:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        printed, _ = process.communicate()
        assert process.returncode == -signal.SIGKILL, printed
    train_here(*words)
    train_here("--recipe", recipe, "--output_dir", tmp_path / "whole")
    assert equal_weights(tmp_path / "whole", folder)
    assert (folder / "training_log.jsonl").read_text() == (tmp_path / "whole" / "training_log.jsonl").read_text()


LAUNCH_TWO = [*TWO_PROCESSES, "--main_process_port", "0", TRAIN]
SAME_ARITHMETIC = ("--dropout", "0", "--no_batch_norm", "--optim", "sgd", "--num_samples", "12")


@pytest.fixture(scope="module")
def run_of_two(recipe, tmp_path_factory):
    """The folder of a run of two processes."""
    folder = tmp_path_factory.mktemp("runs") / "two"
    two = call(LAUNCH_TWO, "--recipe", recipe, *SAME_ARITHMETIC, "--output_dir", folder, ACCELERATE_USE_CPU="true")
    assert two.returncode == 0, two.stderr[-3000:]
    return folder


def test_two_real_processes_train_together_like_one_with_twice_the_batch(recipe, run_of_two, tmp_path, train_here):
    one = tmp_path / "one"
    assert json.loads((run_of_two / "run.json").read_text())["world_size"] == 2
    train_here("--recipe", recipe, *SAME_ARITHMETIC, "--output_dir", one, "--per_device_train_batch_size", 6)
    expected, found = (load_file(folder / "model.safetensors") for folder in (one, run_of_two))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-6, rtol=0, msg=name)
    metrics = [json.loads((folder / "metrics.json").read_text())["metrics"] for folder in (one, run_of_two)]
    assert metrics[0] == pytest.approx(metrics[1], abs=1e-6)


def test_two_processes_that_are_told_to_stop_agree_on_the_step_and_go_on_like_an_uninterrupted_run(
    recipe, run_of_two, tmp_path
):
    folder = tmp_path / "stopped"
    words = list(map(str, ["--recipe", recipe, *SAME_ARITHMETIC, "--output_dir", folder]))
    process = subprocess.Popen(
        [*LAUNCH_TWO, *words, "--step_seconds", "0.3", "--save_strategy", "no"],
        env=environment(ACCELERATE_USE_CPU="true"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    log = folder / "training_log.jsonl"
    while process.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.01)
    process.terminate()
    printed, _ = process.communicate(timeout=60)
    assert process.returncode not in (0, -signal.SIGTERM), printed
    assert printed.count("go on with the same command and --resume_from_checkpoint last") == 1
    assert len(list(folder.glob("checkpoints/*-*"))) == 1
    resumed = call(LAUNCH_TWO, *words, "--resume_from_checkpoint", "last", ACCELERATE_USE_CPU="true")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert equal_weights(folder, run_of_two)


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU this launch does what it says")
def test_a_launch_that_would_run_one_process_instead_of_two_is_refused(recipe, tmp_path):
    words = [
        "--cpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
    ]
    done = call([*LAUNCH, *words, TRAIN], "--recipe", recipe, "--output_dir", tmp_path / "run")
    assert done.returncode != 0
    assert "error: accelerate launch was asked for several processes, but started one." in done.stderr
    assert not (tmp_path / "run").exists()


def test_wrong_input_is_one_sentence_and_status_2(recipe, tmp_path, train_here, capsys):
    with pytest.raises(SystemExit) as ended:
        train_here("--recipe", recipe, "--output_dir", tmp_path, "--learning_rat", "1")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: Unknown field --learning_rat; did you mean 'learning_rate'?\n"


def test_a_resolved_recipe_trains_the_same_weights_again(recipe, tmp_path, train_here):
    train_here("--recipe", recipe, "--output_dir", tmp_path / "first", "--seed", 5, "--num_train_epochs", 1)
    train_here("--recipe", tmp_path / "first" / "recipe.yaml", "--output_dir", tmp_path / "second")
    assert equal_weights(tmp_path / "first", tmp_path / "second")
