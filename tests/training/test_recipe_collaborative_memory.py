"""Collaborative Memory trained by the real loop on a few videos: its stages, its three ways to compute a step, and a
stop between two clips of a video.
"""

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForVideoClassification, AutoVideoProcessor, pipeline

from hf_vidmodels.data.embedded.embedded_corpora import make_embedded_corpus
from hf_vidmodels.data.embedded.embedded_stories import StoryParameters
from hf_vidmodels.evaluation.video_views import logits_of_views
from hf_vidmodels.training import loop
from hf_vidmodels.training.recipe_files import check_fields
from hf_vidmodels.training.recipes.recipe_collaborative_memory import (
    ClipByClip,
    CollaborativeMemoryArguments,
    CollaborativeMemoryRecipe,
)
from script_runs import run_here

CLIPS = {"name": "clips"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    small = replace(StoryParameters(), splits=(("train", 5), ("test", 3)), size=32, side=(12, 16))
    return make_embedded_corpus("stories", cache_dir=tmp_path_factory.mktemp("corpora"), parameters=small)


def train(corpus, output_dir, model=None, **changes):
    settings = {
        "model": {"preset": "tiny-memory", **(model or {})},
        "processor": {"size": {"shortest_edge": 32}, "sampling_rate": 2},
        "dataset_name": str(corpus),
        "output_dir": str(output_dir),
        "num_train_epochs": 1,
        "per_device_train_batch_size": 2,
        "learning_rate": 0.01,
        "disable_tqdm": True,
    }
    args = CollaborativeMemoryArguments(**check_fields(settings | changes, CollaborativeMemoryArguments, "The test"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loop.run(CollaborativeMemoryRecipe(args), args)
    return load_file(Path(output_dir) / "model.safetensors")


@pytest.fixture(scope="module")
def run_of_two_stages(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "two"
    train(corpus, folder, stages=[CLIPS], save_strategy="epoch")
    return folder


def test_single_clips_teach_the_network_and_leave_the_memory_alone(run_of_two_stages):
    start, end = (
        load_file(folder / "model.safetensors") for folder in sorted(run_of_two_stages.glob("checkpoints/*-*"))[:2]
    )
    changed = {name.split(".")[0] for name in start if not torch.equal(start[name], end[name])}
    assert "memory" in changed
    log = (run_of_two_stages / "training_log.jsonl").read_text()
    assert '"stage": "clips"' in log and '"stage": "memory"' in log
    assert "learning_rate_backbone_weights" in log


def test_a_trained_model_opens_answers_in_a_pipeline_and_mixes_no_crops(run_of_two_stages, corpus):
    model = AutoModelForVideoClassification.from_pretrained(run_of_two_stages).eval()
    processor = AutoVideoProcessor.from_pretrained(run_of_two_stages)
    video = str(next(Path(corpus).glob("test/*.mp4")))
    clips = processor(video)["pixel_values"]
    assert clips.shape == (1, 4, 4, 3, 32, 32) and processor(video, num_views=1)["pixel_values"].shape[1] == 1
    with torch.no_grad():
        expected = model(clips)
    answer, *_ = pipeline("video-classification", model=str(run_of_two_stages))(video)
    assert answer["score"] == pytest.approx(expected.logits.softmax(-1).max().item(), abs=1e-5)
    assert answer["label"] == model.config.id2label[int(expected.logits.argmax())]
    with torch.no_grad():
        crops = torch.stack([clips[0], clips[0].flip(-1), clips[0] + 1], dim=1).flatten(0, 1)[None]
        found = logits_of_views(model, crops, 3, 2)[0].unflatten(0, (4, 3))
        torch.testing.assert_close(found[:, 0], expected.clip_logits[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found[:, 1], model(clips.flip(-1)).clip_logits[0], atol=1e-5, rtol=1e-5)


def test_a_prediction_draws_what_every_clip_gets_back(run_of_two_stages, corpus, tmp_path):
    video = str(next(Path(corpus).glob("test/*.mp4")))
    words = ["--model", str(run_of_two_stages), "--input", video, "--output_dir", str(tmp_path / "out")]
    done = run_here("predict.py", *words, "--num_crops", "3")
    assert done.status == 0, done.stderr
    stem = Path(video).stem
    assert (tmp_path / "out" / f"{stem}.memory.png").stat().st_size
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())[stem]
    model = AutoModelForVideoClassification.from_pretrained(run_of_two_stages).eval()
    clips = AutoVideoProcessor.from_pretrained(run_of_two_stages)(video, num_crops=3)["pixel_values"]
    with torch.no_grad():
        by_crop = [model(clips[:, crop::3]).clip_logits.softmax(-1) for crop in range(3)]
    expected = torch.cat(by_crop, dim=1).mean(1)[0].sort(descending=True).values
    assert [one["score"] for one in found] == pytest.approx(expected.tolist(), abs=1e-5)


def test_clips_one_after_the_other_go_on_with_their_memory_after_a_stop(corpus, tmp_path):
    model = {"training_mode": "multi_iteration"}
    expected = train(corpus, tmp_path / "run", model, save_strategy="steps", save_steps=2)
    folders = sorted((tmp_path / "run" / "checkpoints").glob("memory-*"))
    assert [folder.name for folder in folders] == ["memory-4", "memory-6"]
    shutil.copytree(folders[0], tmp_path / "again" / "checkpoints" / "memory-4")
    found = train(
        corpus, tmp_path / "again", model, save_strategy="steps", save_steps=2, resume_from_checkpoint="last"
    )
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_two_passes_train_and_mixing_clip_by_clip_is_refused(corpus, tmp_path):
    weights = train(corpus, tmp_path / "two", {"training_mode": "two_pass"}, max_steps=1)
    assert all(tensor.isfinite().all() for tensor in weights.values())
    with pytest.raises(ValueError, match="mix every batch anew: set them to 0, or use 'two_pass'"):
        train(corpus, tmp_path / "mixed", {"training_mode": "multi_iteration"}, label_smoothing_factor=0.1)


def test_every_process_sees_the_clips_of_its_own_videos_in_order():
    sampler = ClipByClip(num_videos=9, num_clips=3, batch_size=2, num_processes=2, seed=0)
    sampler.set_epoch(4)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 12
    seen = []
    for process in range(2):
        own = batches[process::2]
        for first in range(0, len(own), 3):
            assert [{clip for _, _, clip in batch} for batch in own[first : first + 3]] == [{0}, {1}, {2}]
            assert len({tuple(video for _, video, _ in batch) for batch in own[first : first + 3]}) == 1
            seen += [video for _, video, _ in own[first]]
    assert len(seen) == len(set(seen)) == 8
    with pytest.raises(ValueError, match="needs per_device_train_batch_size x processes = 20 videos or more, got 9"):
        ClipByClip(9, 3, 10, 2, 0)
