"""`scripts/predict.py` on videos to classify."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from feature_extraction_examples import write_moving_video
from hf_vidmodels import (
    GtaConfig,
    GtaForVideoClassification,
    GtaVideoProcessor,
    SttsConfig,
    SttsForVideoClassification,
    SttsVideoProcessor,
)
from hf_vidmodels.processing.decoding import probe_video

CLASSES = ("wave", "jump", "rest")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stts")
    torch.manual_seed(0)
    config = SttsConfig.from_preset("tiny-mvit", id2label=dict(enumerate(CLASSES)))
    SttsForVideoClassification(config).save_pretrained(folder)
    SttsVideoProcessor.from_config(config, evaluation_views=2).save_pretrained(folder)
    return folder


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    for name in ("a", "b"):
        write_moving_video(folder / f"{name}.mp4", 60)
    return folder


def test_a_folder_gives_classes_film_strips_and_videos_of_what_was_kept(predict, checkpoint, videos, tmp_path):
    status, out, err = predict("--model", checkpoint, "--input", videos, "--top_k", 2)
    assert status == 0, err
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a.mp4", "a.png", "b.mp4", "b.png", "predictions.json"]
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert sorted(found) == ["a", "b"]
    scores = [answer["score"] for answer in found["a"]]
    assert len(scores) == 2 and scores == sorted(scores, reverse=True) and 1 / 3 < scores[0] <= 1
    assert {answer["label"] for answer in found["a"]} <= set(CLASSES)
    assert any(line.split()[:2] == ["a", found["a"][0]["label"]] for line in out.splitlines())
    num_frames = SttsConfig.from_preset("tiny-mvit").num_frames
    assert probe_video(tmp_path / "out" / "a.mp4").num_frames == num_frames
    assert np.asarray(Image.open(tmp_path / "out" / "a.png")).shape[1] > 500


def test_without_figures_nothing_is_drawn(predict, checkpoint, videos, tmp_path):
    status, out, err = predict("--model", checkpoint, "--input", videos, "--no_figures")
    assert status == 0, err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["predictions.json"]
    assert "film strips" not in out


def test_all_classes_of_all_views_are_averaged_probabilities(predict, checkpoint, videos, tmp_path):
    predict("--model", checkpoint, "--input", videos / "a.mp4", "--num_views", 3, "--num_crops", 3)
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())["a"]
    assert sum(answer["score"] for answer in found) == pytest.approx(1)


def test_a_broken_video_and_options_of_other_tasks_are_named(predict, checkpoint, videos, tmp_path):
    (videos / "c.mp4").write_bytes(b"no video")
    status, out, err = predict("--model", checkpoint, "--input", videos, "--num_views", 1)
    assert status == 2 and "failed: c: " in out
    assert err.splitlines()[-1] == "error: 1 of 3 videos could not be classified: c"
    assert (tmp_path / "out" / "b.png").is_file()
    status, out, _ = predict("--model", checkpoint, "--input", videos / "b.mp4", "--num_views", 0)
    assert status == 2 and "num_views must be at least 1, got 0" in out
    status, _, err = predict("--model", checkpoint, "--input", videos, "--embed_video")
    assert status == 2 and "--embed_video is for temporal-action-localization" in err


@pytest.fixture(scope="module")
def gta_checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gta")
    torch.manual_seed(0)
    config = GtaConfig.from_preset("tiny-gta", id2label=dict(enumerate(CLASSES)))
    GtaForVideoClassification(config).save_pretrained(folder)
    GtaVideoProcessor.from_config(config, sampling_strategy="slowfast").save_pretrained(folder)
    return folder


def test_a_network_that_mixes_frames_shows_its_matrices_and_its_regions(predict, gta_checkpoint, videos, tmp_path):
    status, _, err = predict("--model", gta_checkpoint, "--input", videos)
    assert status == 0, err
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a.png", "a.regions.png", "b.png", "b.regions.png", "predictions.json", "temporal_matrices.png"]


def test_bfloat16_answers_nearly_the_same_for_any_number_of_views(predict, gta_checkpoint, videos, tmp_path):
    # More views than are computed at once.
    settings = ("--model", gta_checkpoint, "--input", videos / "a.mp4", "--num_views", 4, "--num_crops", 3)
    found = []
    for choice in ("no", "bf16"):
        status, out, err = predict(*settings, "--mixed_precision", choice)
        assert status == 0, out + err
        answers = json.loads((tmp_path / "out" / "predictions.json").read_text())["a"]
        found.append({answer["label"]: answer["score"] for answer in answers})
    assert found[0] != found[1]
    assert found[1] == pytest.approx(found[0], abs=0.01)
