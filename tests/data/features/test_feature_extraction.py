import gc
import json
import weakref

import numpy as np
import pytest

from feature_extraction_examples import (
    moving_frames,
    save_tiny_checkpoint,
    tiny_extractor,
    tiny_streams,
    write_moving_video,
)
from hf_vidmodels import AsmLocConfig, AsmLocForTemporalActionLocalization, SttsConfig
from hf_vidmodels.data.features import feature_extraction
from hf_vidmodels.data.features.feature_extraction import SnippetFeatureExtractor
from hf_vidmodels.processing.decoding import UnreadableVideoError


@pytest.fixture(scope="module")
def extractor():
    return tiny_extractor("rgb", "flow", batch_size=2)


def test_a_video_file_gives_one_row_per_snippet(tmp_path, extractor):
    features = extractor(write_moving_video(tmp_path / "a.mp4", num_frames=28))
    assert features.shape == (4, 16) == (4, extractor.feature_size)
    assert features.dtype == np.float32


def test_features_do_not_depend_on_the_batch_or_the_run(extractor):
    frames = moving_frames(40)
    np.testing.assert_allclose(extractor(frames), tiny_extractor("rgb", "flow", batch_size=5)(frames), atol=1e-6)
    assert np.array_equal(extractor(frames), extractor(frames))


def test_a_row_holds_rgb_before_flow_in_whatever_order_they_are_named(extractor):
    frames = moving_frames(16)
    turned = SnippetFeatureExtractor(
        dict(reversed(tiny_streams("rgb", "flow").items())), frames_per_snippet=8, snippet_stride=8
    )
    both = extractor(frames)
    assert np.array_equal(turned(frames), both)
    assert np.array_equal(tiny_extractor("rgb")(frames), both[:, :8])
    assert np.array_equal(tiny_extractor("flow")(frames), both[:, 8:])


def test_rows_follow_time_and_flow_sees_motion(extractor):
    frames = moving_frames(16)
    frames[:8] = frames[0]
    still, moving = extractor(frames)[:, 8:]
    assert np.abs(still).max() < 1e-3 < 1e-2 < np.abs(moving).max()


def test_videos_are_read_at_the_wanted_rate(tmp_path):
    video = write_moving_video(tmp_path / "a.mp4", num_frames=32)
    assert len(tiny_extractor()(video)) == 4
    assert len(tiny_extractor(frames_per_second=50)(video)) == 8
    assert len(tiny_extractor(frames_per_second=12.5)(video)) == 2


def test_a_video_shorter_than_a_snippet_gives_one_row(extractor):
    assert extractor(moving_frames(1)).shape == (1, 16)


def test_few_frames_are_in_memory_at_a_time(monkeypatch, extractor):
    alive, most = set(), 0

    def frames(source, fps):
        nonlocal most
        for index in range(400):
            frame = np.full((24, 24, 3), index % 256, np.uint8)
            alive.add(index)
            weakref.finalize(frame, alive.discard, index)
            most = max(most, len(alive))
            yield frame

    monkeypatch.setattr(feature_extraction, "iterate_frames", frames)
    assert len(extractor(moving_frames(1))) == 50
    gc.collect()
    assert most <= 2 * 2 * 8 + 8


def test_the_description_is_plain_json_that_makes_the_same_extractor(extractor):
    description = extractor.to_dict()
    again = SnippetFeatureExtractor.from_dict(json.loads(json.dumps(description)))
    assert again.to_dict() == description
    assert again.weights_digests() == extractor.weights_digests()


def test_a_saved_extractor_needs_nothing_but_the_checkpoint(tmp_path, extractor):
    frames = moving_frames(16)
    settings = json.loads(json.dumps(extractor.save(tmp_path)))
    assert settings["streams"]["rgb"]["subfolder"] == "feature_extractor/rgb"
    assert "model_config" not in settings["streams"]["rgb"]
    assert (tmp_path / "feature_extractor" / "flow" / "model.safetensors").is_file()
    again = SnippetFeatureExtractor.from_dict(settings, checkpoint=tmp_path)
    assert np.array_equal(again(frames), extractor(frames))
    assert again.save(tmp_path) == settings
    assert np.array_equal(again(frames), extractor(frames))
    assert not list((tmp_path / "feature_extractor").glob(".*"))


def test_a_checkpoint_brings_its_extractor(tmp_path, extractor):
    folder = save_tiny_checkpoint(tmp_path)
    frames = moving_frames(16)
    expected = extractor(frames)
    assert np.array_equal(SnippetFeatureExtractor.from_checkpoint(folder)(frames), expected)
    model = AsmLocForTemporalActionLocalization.from_pretrained(folder)
    assert np.array_equal(SnippetFeatureExtractor.from_checkpoint(model)(frames), expected)


def test_a_checkpoint_without_an_extractor_says_what_is_missing():
    with pytest.raises(ValueError, match="names no feature extractor.*2048 numbers .*I3D.*hf-vidmodels extract"):
        SnippetFeatureExtractor.from_checkpoint("org/asm-loc", AsmLocConfig())


def test_a_checkpoint_of_another_task_is_told_from_one_without_an_extractor():
    config = SttsConfig.from_preset("tiny-mvit")
    with pytest.raises(ValueError, match=r"clips \(stts\) works on no features.*hf-vidmodels extract --model"):
        SnippetFeatureExtractor.from_checkpoint("runs/clips", config)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("hidden_size", 32, "gives features of size 16, but its configuration says hidden_size = 32"),
        ("frames_per_snippet", 16, "has a snippet_stride of 8, but .* frames_per_snippet = 16"),
        ("frames_per_second", 10, "reads frames per second 25, but .* frames_per_second = 10"),
    ],
)
def test_an_extractor_that_does_not_fit_its_model_is_refused(tmp_path, field, value, sentence):
    settings = tiny_extractor("rgb", "flow").save(tmp_path)
    fields = {"hidden_size": 16, "frames_per_snippet": 8, "frames_per_second": 25} | {field: value}
    config = AsmLocConfig(**fields, feature_extractor=settings)
    with pytest.raises(ValueError, match=sentence):
        SnippetFeatureExtractor.from_checkpoint(tmp_path, config)


def test_videos_that_cannot_be_read_are_named(tmp_path, extractor):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    with pytest.raises(UnreadableVideoError, match=r"broken\.mp4"):
        extractor(broken)
    with pytest.raises(UnreadableVideoError, match="no frames"):
        extractor(np.zeros((0, 32, 32, 3), np.uint8))
    with pytest.raises(FileNotFoundError, match=r"absent\.mp4"):
        extractor(tmp_path / "absent.mp4")


def test_features_that_are_not_finite_are_refused(monkeypatch):
    extractor = tiny_extractor()
    monkeypatch.setattr(extractor, "_encode", lambda snippets: np.full((len(snippets), 8), np.nan))
    with pytest.raises(ValueError, match="the given video are not finite, first in row 0"):
        extractor(moving_frames(16))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"streams": {"audio": {}}}, "streams of a feature extractor are rgb and flow, got 'audio'"),
        ({"streams": {}}, "at least one of the streams rgb and flow, got none"),
        ({"frames_per_second": 25}, "needs the field 'streams'"),
        ({"streams": tiny_streams("rgb"), "frames_per_snipet": 8}, "did you mean 'frames_per_snippet'"),
        ({"streams": tiny_streams("rgb"), "snippet_stride": 0}, "snippet_stride must be positive, got 0"),
        ({"streams": tiny_streams("rgb"), "mixed_precision": "fp16"}, "must be one of no, bf16, got 'fp16'"),
    ],
)
def test_wrong_descriptions_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        SnippetFeatureExtractor.from_dict(settings)
