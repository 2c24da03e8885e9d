"""STTS by the real commands: trained, killed and resumed, by two processes, scored again, and without a corpus."""

import json
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from script_runs import SCRIPTS, environment, run_here, run_in_two_processes
from stts_corpus import make_corpus, write_recipe

pytestmark = pytest.mark.filterwarnings("ignore:split 'test'.*have no example", "ignore:split 'test'.*has no example")
TRAIN = str(SCRIPTS / "train.py")
FULL = {"name": "full", "lr_scheduler_type": "cosine"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    # Odd numbers of videos, so that two processes have unequal shares of both splits.
    return make_corpus(tmp_path_factory.mktemp("corpora"), train=7, test=5)


def read(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_two_processes_share_the_evaluation_and_evaluate_py_finds_the_same_alone(corpus, tmp_path):
    recipe = write_recipe(tmp_path / "small.yaml", corpus, num_train_epochs=1, stages=[FULL])
    run = tmp_path / "run"
    done = run_in_two_processes("train.py", "--recipe", recipe, "--output_dir", run)
    assert done.status == 0, done.stderr[-3000:]
    assert read(run, "run.json")["world_size"] == 2
    alone = run_here("evaluate.py", "--model", run, "--corpus", corpus, "--output_dir", tmp_path / "alone")
    assert alone.status == 0, alone.stderr
    together, alone = (read(folder, "metrics.json") for folder in (run, tmp_path / "alone"))
    assert together["num_examples"] == alone["num_examples"] == 5
    assert together["metrics"]["top1_accuracy"] == alone["metrics"]["top1_accuracy"]
    together, alone = (read(folder, "predictions.json")["results"] for folder in (run, tmp_path / "alone"))
    assert together.keys() == alone.keys() and len(alone) == 5
    for video, answers in alone.items():
        scores = [[answer["score"] for answer in found] for found in (together[video], answers)]
        assert scores[0] == pytest.approx(scores[1], abs=2e-6), video
    assert (tmp_path / "alone" / "kept_tokens_1.png").is_file()


def test_a_killed_run_ends_like_an_uninterrupted_one(corpus, tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 3, "logging_steps": 2}
    recipe = write_recipe(
        tmp_path / "long.yaml", corpus, num_train_epochs=6, stages=[FULL | {"num_train_epochs": 2}], **saving
    )
    folder = tmp_path / "killed"
    words = ("--recipe", recipe, "--output_dir", folder, "--resume_from_checkpoint", "last", "--mixup_alpha", "0.8")
    command = list(map(str, [sys.executable, TRAIN, *words]))
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    # In the second stage, when the noise of the selection has begun to fall.
    while process.poll() is None and not any(folder.glob("checkpoints/selection-*")):
        time.sleep(0.005)
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    printed, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, printed
    assert not (folder / "model.safetensors").exists()

    whole = tmp_path / "whole"
    for done in (
        run_here("train.py", *words),
        run_here("train.py", "--recipe", recipe, "--output_dir", whole, "--mixup_alpha", "0.8"),
    ):
        assert done.status == 0, done.stderr
    weights, expected = (load_file(run / "model.safetensors") for run in (folder, whole))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    for name in ("model.safetensors", "training_log.jsonl", "predictions.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_corpus_of_another_task_is_refused_in_a_sentence(tmp_path):
    recipe = write_recipe(tmp_path / "wrong.yaml", tmp_path / "nothing")
    done = run_here("train.py", "--recipe", recipe, "--output_dir", tmp_path / "run")
    assert done.status == 2 and "there is no corpus" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()
