"""Semiformer by the real commands: two processes learn what one does, where no statistics of batches interfere."""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from script_runs import run_here, run_in_two_processes

RECIPE = {
    "method": "semiformer",
    # Batch norms see the batch of each process; a stream without them is indifferent to how pictures are shared.
    "model": {
        "preset": "tiny-semiformer",
        "streams": "transformer",
        "use_position_embeddings": True,
        "image_size": 32,
        "hidden_size": 12,
        "num_hidden_layers": 3,
        "drop_path_rate": 0.0,
        "pseudo_label_threshold": 0.0,
    },
    "processor": {"size": {"shortest_edge": 32}},
    "labelled_share": 0.5,
    "labelled_fraction": 0.5,
    "learning_rate": 0.01,
    "lr_scheduler_type": "cosine_by_step",
    "warmup_epochs": 0.5,
    "num_train_epochs": 1,
    "steps_per_epoch": 2,
    "logging_steps": 1,
    "save_strategy": "no",
    "seed": 3,
}


@pytest.fixture
def corpus(tmp_path):
    draws = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 3)):
        for label, colour in (("green", (20, 200, 40)), ("red", (200, 30, 30))):
            folder = tmp_path / "pictures" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = (np.array(colour) + draws.integers(0, 40, (34, 40, 3))).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{label}{number}.png")
    return tmp_path / "pictures"


def test_two_processes_learn_what_one_does_and_the_result_is_scored_and_asked_alike(corpus, tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    words = ["--recipe", tmp_path / "recipe.yaml", "--dataset_name", corpus]
    one = run_here("train.py", *words, "--output_dir", tmp_path / "one", "--per_device_train_batch_size", 8)
    assert one.status == 0, one.stderr
    two = run_in_two_processes(
        "train.py", *words, "--output_dir", tmp_path / "two", "--per_device_train_batch_size", 4
    )
    assert two.status == 0, two.stderr
    assert "on each of 2 processes" in two.stdout
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-4, rtol=1e-3, msg=name)
    first, second = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert first["metrics"].keys() == second["metrics"].keys() and first["num_examples"] == second["num_examples"] == 6
    assert (tmp_path / "one" / "README.md").is_file() and (tmp_path / "one" / "modeling_semiformer.py").is_file()
    words = ["--model", tmp_path / "one", "--dataset_name", corpus, "--output_dir", tmp_path / "scores"]
    assert run_here("evaluate.py", *words, "--batch_size", 2).status == 0
    found = json.loads((tmp_path / "scores" / "metrics.json").read_text())["metrics"]
    assert found == pytest.approx(first["metrics"])
    done = run_here(
        "predict.py", "--model", tmp_path / "one", "--input", corpus / "test", "--output_dir", tmp_path / "p"
    )
    assert done.status == 0, done.stderr
    assert len(json.loads((tmp_path / "p" / "predictions.json").read_text())) == 6
