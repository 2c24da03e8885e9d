"""ASM-Loc by the real training command: by two processes, killed and resumed, and on input that does not fit."""

import json
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from asm_loc_corpus import SPLITS, WIDTH, write_corpus, write_recipe
from script_runs import SCRIPTS, environment, run_here, run_in_two_processes

TRAIN = str(SCRIPTS / "train.py")


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "corpus")


def read(folder, name):
    return json.loads((folder / name).read_text())


def last_saved_step(folder):
    """Give the number of steps of the newest complete checkpoint."""
    names = [path.name for path in folder.glob("checkpoints/step*")]
    return max((int(found[1]) for name in names if (found := re.fullmatch(r"step\d-(\d+)", name))), default=0)


def test_two_processes_share_the_final_evaluation_and_the_proposals(tmp_path):
    # Odd numbers of videos, so that the two have unequal shares of both splits.
    splits = {"train": 7, "test": 5}
    corpus = write_corpus(tmp_path / "corpus", splits=splits)
    recipe = write_recipe(tmp_path / "small.yaml", corpus, per_device_train_batch_size=2)
    run = tmp_path / "run"
    done = run_in_two_processes("train.py", "--recipe", recipe, "--output_dir", run)
    assert done.status == 0, done.stderr[-3000:]
    assert read(run, "run.json")["world_size"] == 2
    proposals = read(run / "checkpoints" / "work", "proposals_step0.json")
    assert set(proposals) == {f"{split}{number}" for split, count in splits.items() for number in range(count)}

    alone = run_here("evaluate.py", "--model", run, "--corpus", corpus, "--output_dir", tmp_path / "alone")
    assert alone.status == 0, alone.stderr
    together, alone = (read(folder, "metrics.json") for folder in (run, tmp_path / "alone"))
    assert together["num_examples"] == alone["num_examples"] == splits["test"]
    assert together["metrics"] == pytest.approx(alone["metrics"], abs=1e-6)
    assert 0 < alone["metrics"]["average_mAP"] < 1
    # Also score by score: a process that used batch statistics of its own would hardly change the metrics.
    together, alone = (read(folder, "predictions.json")["results"] for folder in (run, tmp_path / "alone"))
    assert together.keys() == alone.keys()
    for video, found in alone.items():
        scores = [[segment["score"] for segment in segments] for segments in (together[video], found)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-6), video


def test_a_run_killed_three_times_ends_like_an_uninterrupted_one(corpus, tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 3, "logging_steps": 2}
    recipe = write_recipe(tmp_path / "long.yaml", corpus, num_train_epochs=25, per_device_train_batch_size=2, **saving)
    folder = tmp_path / "killed"
    words = ("--recipe", recipe, "--output_dir", folder, "--resume_from_checkpoint", "last")
    command = list(map(str, [sys.executable, TRAIN, *words]))
    proposals_file = folder / "checkpoints" / "work" / "proposals_step0.json"
    moments = random.Random(3)
    for after_first_stage in (False, True, False):
        goal = last_saved_step(folder) + moments.randint(1, 30)
        process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        # Kill it some steps after the checkpoint that it went on from, once when the second stage has begun.
        while process.poll() is None and (
            last_saved_step(folder) < goal or (after_first_stage and not proposals_file.exists())
        ):
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        printed, _ = process.communicate()
        assert process.returncode == -signal.SIGKILL, printed
        assert not (folder / "model.safetensors").exists()
        assert proposals_file.exists() or not after_first_stage

    whole = tmp_path / "whole"
    for done in (run_here("train.py", *words), run_here("train.py", "--recipe", recipe, "--output_dir", whole)):
        assert done.status == 0, done.stderr
    assert not list(folder.rglob("*.tmp"))
    weights, expected = (load_file(run / "model.safetensors") for run in (folder, whole))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    for name in ("model.safetensors", "metrics.json", "training_log.jsonl", "predictions.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name


def put_no_numbers_into_features(corpus):
    for name in ("train3", "test1"):
        file = corpus / "features" / f"{name}.npy"
        features = np.load(file)
        features[5, 2] = np.nan
        np.save(file, features)


def narrow_one_file(corpus):
    np.save(corpus / "features" / "test2.npy", np.zeros((40, 10), np.float32))


def delete_files(corpus):
    for name in ("train1", "train6", "test0"):
        (corpus / "features" / f"{name}.npy").unlink()


@pytest.mark.parametrize(
    ("spoil", "key_words"),
    [
        (put_no_numbers_into_features, ("train3.npy", "test1.npy", "nan", "row 5", "finite")),
        (narrow_one_file, ("test2.npy", "size 10", f"where {WIDTH} are expected")),
        (delete_files, ("missing", "train1", "train6", "test0")),
    ],
)
def test_unusable_feature_files_are_named_before_anything_is_trained(corpus, tmp_path, spoil, key_words):
    spoil(corpus)
    refuse(corpus, tmp_path, key_words)


@pytest.mark.parametrize(
    ("kept", "key_words"), [("train", ("only the split 'train'", "eval")), ("test", ("no split 'train'", "test"))]
)
def test_a_corpus_without_one_of_its_two_splits_is_refused(tmp_path, kept, key_words):
    corpus = write_corpus(tmp_path / "corpus", splits={kept: SPLITS[kept]})
    refuse(corpus, tmp_path, key_words)


def refuse(corpus, tmp_path, key_words):
    recipe = write_recipe(tmp_path / "small.yaml", corpus)
    done = run_here("train.py", "--recipe", recipe, "--output_dir", tmp_path / "run")
    last_line = done.stderr.splitlines()[-1]
    assert done.status == 2 and last_line.startswith("error: "), done.stderr
    for words in key_words:
        assert words in last_line
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
