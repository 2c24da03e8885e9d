import json

import numpy as np
import pytest
import torch
from transformers import AutoModel, ResNetConfig, ResNetModel, pipeline

from feature_extraction_examples import moving_frames, save_tiny_checkpoint, tiny_extractor, write_moving_video
from hf_vidmodels.pipelines.temporal_action_localization import (
    TemporalActionLocalizationPipeline,
    best_segments,
    end_inside,
    is_feature_source,
)

TASK = "temporal-action-localization"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def locate(checkpoint):
    return pipeline(TASK, model=str(checkpoint), device="cpu")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_moving_video(tmp_path_factory.mktemp("videos") / "a.mp4", 80)


@pytest.fixture(scope="module")
def features(video):
    return tiny_extractor("rgb", "flow")(video)


def test_segments_come_with_names_and_seconds_by_descending_score(locate, video, features):
    answer = locate(str(video))
    prediction = locate.model.localize(features)[0]
    assert answer and set(answer[0]) == {"label", "score", "start", "end"}
    assert [segment["score"] for segment in answer] == sorted(prediction["scores"].tolist(), reverse=True)
    assert {segment["label"] for segment in answer} <= {"swing", "spin", "bounce"}
    assert all(0 <= segment["start"] < segment["end"] for segment in answer)
    best = prediction["scores"].argmax()
    assert [answer[0]["start"], answer[0]["end"]] == prediction["segments"][best].tolist()
    json.dumps(answer)


def test_videos_and_features_of_every_form_give_the_same_answer(locate, video, features, tmp_path):
    expected = locate(str(video))
    np.save(tmp_path / "a.npy", features)
    np.save(tmp_path / "rgb.npy", features[:, :8])
    np.save(tmp_path / "flow.npy", features[:, 8:])
    for source in (
        video,
        video.read_bytes(),
        {"path": str(video), "bytes": None},
        features,
        torch.from_numpy(features),
        str(tmp_path / "a.npy"),
        (tmp_path / "rgb.npy", tmp_path / "flow.npy"),
    ):
        assert locate(source) == expected


def test_segments_end_inside_the_video(checkpoint, tmp_path, monkeypatch):
    # The last of six rows reaches beyond the end of 46 frames.
    video = write_moving_video(tmp_path / "a.mp4", 46)
    locate = pipeline(TASK, model=str(checkpoint), device="cpu")
    reach = 6 * 8 / 25
    beyond = {"segments": np.array([[0.0, reach], [1.85, reach], [0.5, 1.0]]), "scores": np.array([0.9, 0.8, 0.7])}
    beyond["labels"] = np.zeros(3, int)
    monkeypatch.setattr(locate.model, "localize", lambda videos, **options: [beyond for _ in videos])
    answer = locate(str(video))
    assert [(one["start"], one["end"]) for one in answer] == [(0.0, pytest.approx(46 / 25)), (0.5, 1.0)]
    features = tiny_extractor("rgb", "flow")(video)
    assert len(features) == 6 and locate(features)[0]["end"] == reach
    assert end_inside(beyond, np.nan) is beyond


def test_an_earlier_step_can_answer(locate, features):
    first, last = locate.model.localize(features, return_all_steps=True)
    for step, expected in ((0, first), (1, last)):
        (found,) = locate.model.localize(features, step=step)
        assert all(np.array_equal(found[name], expected[0][name]) for name in expected[0])
    with pytest.raises(ValueError, match="step must be one of the trained steps, 0 to 1, got 2"):
        locate.model.localize(features, step=2)


def test_a_list_gives_a_list_whatever_the_batch(locate, video, features):
    sources = [str(video), features[:6], features]
    each = [locate(source) for source in sources]
    assert locate(sources) == each
    batched = locate(sources, batch_size=3)
    assert [len(segments) for segments in batched] == [len(segments) for segments in each]
    for segments, expected in zip(batched, each, strict=True):
        np.testing.assert_allclose([s["score"] for s in segments], [s["score"] for s in expected], atol=1e-5)
    assert list(locate(source for source in sources)) == each
    assert locate([]) == []


def test_top_k_and_threshold_choose_the_best(locate, features):
    everything = locate(features)
    assert len(everything) > 2
    assert locate(features, top_k=2) == everything[:2]
    limit = everything[1]["score"]
    assert locate(features, threshold=limit) == [segment for segment in everything if segment["score"] >= limit]
    with pytest.raises(ValueError, match="top_k must be at least 1"):
        locate(features, top_k=0)


def test_a_saved_pipeline_takes_video_without_the_first_checkpoint(locate, video, tmp_path):
    locate.save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "feature_extractor" / "rgb" / "model.safetensors").is_file()
    assert (tmp_path / "saved" / "preprocessor_config.json").is_file()
    assert not list((tmp_path / "saved").glob("*.py"))
    assert pipeline(TASK, model=str(tmp_path / "saved"), device="cpu")(str(video)) == locate(str(video))


def test_features_need_no_extractor_and_videos_say_that_it_is_missing(tmp_path, features, video):
    model = AutoModel.from_pretrained(save_tiny_checkpoint(tmp_path, with_extractor=False))
    locate = TemporalActionLocalizationPipeline(model, device="cpu")
    assert locate(features)
    with pytest.raises(ValueError, match="names no feature extractor.*rows of 16 numbers"):
        locate(str(video))
    given = TemporalActionLocalizationPipeline(
        model, snippet_extractor=tiny_extractor("rgb", "flow"), device="cpu", top_k=1
    )
    assert given(str(video)) == locate(features, top_k=1)


def test_a_model_of_another_kind_is_refused():
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1])
    with pytest.raises(ValueError, match="ResNetModel cannot localise actions in time"):
        TemporalActionLocalizationPipeline(ResNetModel(config), device="cpu")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda folder: np.zeros((5, 8), np.float32), "features of size 8 where 16 are expected"),
        (lambda folder: np.full((5, 16), np.nan, np.float32), "nan"),
        (lambda folder: str(folder / "absent.npy"), r"absent\.npy does not exist"),
        (lambda folder: str(folder / "absent.mp4"), r"absent\.mp4"),
        (lambda folder: b"no video", "8 bytes"),
        (lambda folder: np.zeros((0, 32, 32, 3), np.uint8), "no frames"),
    ],
)
def test_sources_that_cannot_be_read_are_named(locate, tmp_path, make, sentence):
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        locate(make(tmp_path))


def test_features_are_told_from_videos(tmp_path):
    (tmp_path / "frames.npy").mkdir()
    assert (
        is_feature_source("a.npy")
        and is_feature_source("corpus.h5::videos/a")
        and is_feature_source(("a.npz", "b.npz"))
    )
    assert is_feature_source(np.zeros((3, 4)))
    assert (
        not is_feature_source("a.mp4") and not is_feature_source(b"bytes") and not is_feature_source({"path": "a.npy"})
    )
    assert not is_feature_source(moving_frames(2)) and not is_feature_source(tmp_path / "frames.npy")


def test_equal_scores_keep_the_order_of_the_method():
    prediction = {
        "segments": np.array([[0, 1], [1, 2], [2, 3]]),
        "scores": np.array([0.5, 0.9, 0.5]),
        "labels": np.array([0, 1, 2]),
    }
    assert best_segments(prediction)["labels"].tolist() == [1, 0, 2]
    assert best_segments(prediction, top_k=2, threshold=0.5)["labels"].tolist() == [1, 0]
