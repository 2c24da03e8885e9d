import numpy as np
import pytest
from transformers import pipeline

from hf_vidmodels import (
    CollaborativeMemoryConfig,
    CollaborativeMemoryForActionDetection,
    CollaborativeMemoryVideoProcessor,
    VideoResNetConfig,
)
from hf_vidmodels.data.video_writing import write_video
from hf_vidmodels.modeling.modeling_video_resnet import (
    VideoResNetForActionDetection,
    VideoResNetForVideoClassification,
)
from hf_vidmodels.processing.processing_video_resnet import VideoResNetVideoProcessor

NAMES = {0: "stand", 1: "walk", 2: "sit"}
BOXES = {1.0: [[0.1, 0.2, 0.4, 0.9], [0.6, 0.2, 0.9, 0.9]], 2.0: [[0.12, 0.2, 0.42, 0.9]]}


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "street.mp4"
    frames = np.random.default_rng(0).integers(0, 255, (75, 40, 64, 3), dtype=np.uint8)
    write_video(path, frames, 25)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    config = VideoResNetConfig.from_preset("tiny-slow", num_labels=3, id2label=NAMES)
    VideoResNetForActionDetection(config).save_pretrained(folder)
    VideoResNetVideoProcessor.from_config(config, size={"shortest_edge": 40}).save_pretrained(folder)
    return folder


def test_people_are_numbered_and_say_what_they_do(checkpoint, film):
    detect = pipeline("action-detection", model=str(checkpoint))
    found = detect(str(film), proposals=BOXES, threshold=0.0)
    assert [(row["timestamp"], row["person"]) for row in found] == [(1.0, 0), (1.0, 1), (2.0, 0)] or [
        (row["timestamp"], row["person"]) for row in found
    ] == [(1.0, 0), (1.0, 1), (2.0, 1)]
    boxes = {tuple(row["box"].values()) for row in found if row["timestamp"] == 1.0}
    assert boxes == {(6, 8, 26, 36), (38, 8, 58, 36)}
    for row in found:
        scores = [action["score"] for action in row["actions"]]
        assert scores == sorted(scores, reverse=True)
        assert {action["label"] for action in row["actions"]} == set(NAMES.values())


def test_one_film_and_a_list_and_batches_give_the_same(checkpoint, film):
    detect = pipeline("action-detection", model=str(checkpoint), proposals=BOXES, threshold=0.0)
    one = detect(film.as_uri())
    two = detect([str(film), str(film)], batch_size=2)
    assert len(two) == 2
    for found in two:
        assert [row["box"] for row in found] == [row["box"] for row in one]
        for row, other in zip(found, one, strict=True):
            assert row["actions"][0]["score"] == pytest.approx(other["actions"][0]["score"], abs=1e-5)


def test_a_film_shorter_than_a_clip_and_a_time_without_people_are_fine(checkpoint, tmp_path):
    write_video(tmp_path / "short.mp4", np.zeros((2, 40, 64, 3), np.uint8), 25)
    detect = pipeline("action-detection", model=str(checkpoint))
    found = detect(str(tmp_path / "short.mp4"), proposals={0.0: BOXES[2.0], 1.0: []}, threshold=0.0)
    assert [row["timestamp"] for row in found] == [0.0]


def test_a_model_with_a_memory_answers_too(film, tmp_path):
    config = CollaborativeMemoryConfig.from_preset("tiny-memory", num_labels=3, id2label=NAMES)
    CollaborativeMemoryForActionDetection(config).save_pretrained(tmp_path)
    CollaborativeMemoryVideoProcessor.from_config(config, size={"shortest_edge": 40}).save_pretrained(tmp_path)
    found = pipeline("action-detection", model=str(tmp_path))(str(film), proposals=BOXES, threshold=0.0)
    assert [row["timestamp"] for row in found] == [1.0, 1.0, 2.0]


def test_a_high_threshold_leaves_nobody(checkpoint, film):
    assert pipeline("action-detection", model=str(checkpoint))(str(film), proposals=BOXES, threshold=1.0) == []


def test_what_is_missing_is_said(checkpoint, film):
    detect = pipeline("action-detection", model=str(checkpoint))
    with pytest.raises(ValueError, match="finds none itself: give proposals"):
        detect(str(film))
    with pytest.raises(ValueError, match=r"the proposals at 1 s must be .* divide pixels"):
        detect(str(film), proposals={1.0: [[3, 4, 20, 30]]})
    with pytest.raises(ValueError, match=r"threshold must lie in \[0, 1\]"):
        detect(str(film), threshold=2)
    config = VideoResNetConfig.from_preset("tiny-slow")
    with pytest.raises(ValueError, match="has no `detect_actions`"):
        type(detect)(VideoResNetForVideoClassification(config))
