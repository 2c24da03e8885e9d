"""Training the detector of Collaborative Memory: its samples, and runs that end in a repository."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoVideoProcessor

from hf_vidmodels import CollaborativeMemoryForActionDetection
from hf_vidmodels.data.contracts import features_for
from hf_vidmodels.data.video_writing import write_video
from hf_vidmodels.hub.cards import render_card
from hf_vidmodels.processing.processing_collaborative_memory import CollaborativeMemoryVideoProcessor
from hf_vidmodels.training import loop
from hf_vidmodels.training.recipes import action_detectors
from hf_vidmodels.training.recipes.key_time_clips import KeyTimeClips, collate_boxes
from hf_vidmodels.training.recipes.recipe_collaborative_memory_detection import (
    CollaborativeMemoryDetectionRecipe,
    MemoryDetectionArguments,
)
from method_examples import collaborative_memory_config

BRIGHT = [0.25, 0.25, 0.5, 0.75]
TINY = {
    "dataset_name": "embedded/tubes",
    "model": {"preset": "tiny-memory", "context_seconds": 2.0},
    "processor": {"size": {"shortest_edge": 32}},
    "num_train_epochs": 1,
    "per_device_train_batch_size": 2,
    "optim": "adamw",
    "logging_steps": 1,
    "disable_tqdm": True,
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Four key times of a film with a bright person on the left; one is excluded, and one has nobody."""
    from datasets import Dataset

    path = tmp_path_factory.mktemp("film") / "film.mp4"
    frames = np.zeros((125, 48, 64, 3), np.uint8)
    frames[:, 12:36, 16:32] = 255
    write_video(path, list(frames), 25)
    columns = {
        "video_id": ["film"] * 4,
        "video": [str(path)] * 4,
        "timestamp": [1.0, 2.0, 3.0, 4.0],
        "boxes": [[BRIGHT], [BRIGHT, [0.6, 0.1, 0.9, 0.9]], [], [BRIGHT]],
        "labels": [[[0]], [[1], [0, 2]], [], [[2]]],
        "actor_ids": [[7], [7, 9], [], [7]],
        "excluded": [False, False, False, True],
    }
    return Dataset.from_dict(columns, features=features_for("action-detection", columns, ["a", "b", "c"]))


def clips_of(rows, resize_scale=(1.0, 1.5), flip_probability=0.5, **overrides):
    config = collaborative_memory_config(num_labels=3, **({"context_seconds": 2.0} | overrides))
    processor = CollaborativeMemoryVideoProcessor.from_config(config)
    return KeyTimeClips(rows, processor, config, 0, resize_scale, flip_probability)


def test_boxes_stay_on_their_people_through_sizes_crops_and_mirrors(rows):
    clips = clips_of(rows)
    assert len(clips) == 2
    for epoch in range(8):
        sample = clips[epoch, 0]
        assert sample["pixel_values"].shape == (3, 4, 3, 32, 32)
        for box in sample["boxes"]:
            x0, y0, x1, y1 = box.round().int().tolist()
            inside = torch.zeros(32, 32, dtype=torch.bool)
            inside[y0:y1, x0:x1] = True
            picture = sample["pixel_values"][1, 2].mean(0)
            assert picture[inside].mean() > picture[~inside].mean() + 2


def test_people_outside_of_a_crop_have_no_label(rows):
    clips = clips_of(rows, resize_scale=(2.5, 2.5))
    kept = [clips[epoch, 1]["labels"] for epoch in range(12)]
    assert {len(labels) for labels in kept} >= {0, 1}
    assert all(label.tolist() in ([0, 1, 0], [1, 0, 1]) for labels in kept for label in labels)


@pytest.mark.parametrize(("center", "order"), [(None, [0, 1, 2]), (0, [1, 0, 2])])
def test_one_clip_shows_the_key_time_and_the_others_what_is_around_it(rows, tmp_path, center, order):
    frames = np.repeat(np.arange(125, dtype=np.uint8)[:, None, None, None] * 2, 48, axis=1).repeat(64, 2).repeat(3, 3)
    path = tmp_path / "brighter.mp4"
    write_video(path, list(frames), 25)
    moved = rows.select([1]).remove_columns("video").add_column("video", [str(path)])
    pixels = clips_of(moved, center_clip=center)[0, 0]["pixel_values"]
    brightness = pixels.mean((1, 2, 3, 4))
    assert brightness.argsort().tolist() == order


def test_a_sample_follows_from_its_epoch_and_index(rows):
    clips = clips_of(rows)
    first, again, other = clips[0, 1], clips[0, 1], clips[1, 1]
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["pixel_values"], other["pixel_values"])


def test_a_batch_numbers_the_boxes_of_its_key_times(rows):
    clips = clips_of(rows, resize_scale=(1.0, 1.0))
    batch = collate_boxes([clips[0, 0], {**clips[0, 0], "boxes": torch.zeros(0, 4), "labels": torch.zeros(0, 3)}])
    assert batch["boxes"][:, 0].tolist() == [0.0] * len(batch["labels"])
    assert collate_boxes([clips[0, 0], clips[0, 0]])["boxes"][:, 0].tolist() == [0.0, 1.0]


def test_a_split_without_people_is_refused(rows):
    with pytest.raises(ValueError, match="no key time with people that is not excluded"):
        clips_of(rows.select([2, 3]))


@pytest.fixture
def train(rows, monkeypatch, tmp_path):
    """Return a function that trains the tiny recipe into a folder and gives the folder."""

    def run(name, **changes):
        corpus = {"train": rows, "validation": rows.select([1])}
        monkeypatch.setattr(action_detectors, "load_corpus", lambda *args, **kwargs: corpus)
        monkeypatch.setattr(loop, "write_loss_curve", lambda folder, metric: None)
        args = MemoryDetectionArguments(**(TINY | {"output_dir": str(tmp_path / name)} | changes))
        loop.run(CollaborativeMemoryDetectionRecipe(args), args)
        return tmp_path / name

    return run


def test_a_run_ends_in_a_model_of_the_task_with_a_card(train):
    folder = train("run")
    assert type(AutoModel.from_pretrained(folder)) is CollaborativeMemoryForActionDetection
    assert AutoVideoProcessor.from_pretrained(folder).num_frames == 4
    assert "mAP@0.5" in json.loads((folder / "metrics.json").read_text())["metrics"]
    assert "Collaborative Memory says what people in given boxes of a film do" in render_card(folder)
    again = train("again", model_name_or_path=str(folder), model={**TINY["model"], "training_mode": "two_pass"})
    assert (again / "model.safetensors").is_file()


def test_training_clip_by_clip_is_refused(train):
    with pytest.raises(ValueError, match="only the middle clip of a key time has boxes; use 'two_pass'"):
        train("run", model={**TINY["model"], "training_mode": "multi_iteration"})


def test_frames_smaller_than_the_crop_are_refused():
    with pytest.raises(ValueError, match="resize_scale must be two ascending numbers >= 1"):
        MemoryDetectionArguments(**(TINY | {"output_dir": "x", "resize_scale": [0.5, 1.0]}))
