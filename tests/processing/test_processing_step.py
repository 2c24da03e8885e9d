"""STEP's processor: squashed clips around key times, and detections of a step."""

import numpy as np
import pytest
import torch

from hf_vidmodels import StepVideoProcessor
from hf_vidmodels.modeling.modeling_step import StepOutput
from hf_vidmodels.processing.decoding import UnreadableVideoError
from method_examples import step_config
from step_cases import operations


@pytest.fixture(scope="module")
def processor():
    return StepVideoProcessor.from_config(step_config())


def test_frames_are_prepared_as_by_the_official_code():
    parameters, values = operations()
    width, height = parameters["preprocess"]["size_wh"]
    processor = StepVideoProcessor(size={"height": height, "width": width})
    frames = values["preprocess.frames_bgr_u8"].flip(-1).permute(0, 3, 1, 2)
    torch.testing.assert_close(processor.prepare(frames), values["preprocess.out_rgb"], atol=1e-4, rtol=0)


def test_it_follows_from_the_configuration(processor):
    assert processor.frame_size == (48, 64) and processor.num_frames == 36
    assert StepVideoProcessor.from_config(step_config(), nms_threshold=0.3).nms_threshold == 0.3


def test_a_clip_lies_around_its_key_time_or_the_middle(processor):
    film = np.arange(100, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    shown = (processor(film, timestamps=2.0, fps=25).pixel_values[0, :, 0, 0, 0] + 1) * 127.5
    expected = np.clip(np.floor((2 + (np.arange(36) - 18) / 12) * 25 + 1e-6), 0, 99)
    np.testing.assert_allclose(shown, expected, atol=1e-3)
    middle = (processor(film).pixel_values[0, :, 0, 0, 0] + 1) * 127.5
    assert middle[18] == pytest.approx(50, abs=1e-3) and middle[19] - middle[18] == pytest.approx(1, abs=1e-3)
    assert processor([film, film], timestamps=[1.0, 2.0], fps=25).pixel_values.shape == (2, 36, 3, 48, 64)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"timestamps": [1.0, 2.0]}, "timestamps must be one for each of 1 videos, got 2"),
        ({"timestamps": 9.0}, "is shown from 0 s to 4 s, so it has no key time 9 s"),
        ({"timestamps": float("nan")}, "must be a list of ascending seconds"),
        ({"timestamps": 1.0, "fps": None}, "has no timing, so that fps must say"),
    ],
)
def test_key_times_are_inside_the_video(processor, arguments, sentence):
    film = np.zeros((100, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match=sentence):
        processor(film, **({"fps": 25} | arguments))


def test_what_is_no_video_is_told(processor, tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"nothing")
    with pytest.raises(UnreadableVideoError):
        processor(tmp_path / "film.mp4")
    with pytest.raises(FileNotFoundError):
        processor(tmp_path / "none.mp4", timestamps=1.0)


@pytest.fixture
def outputs():
    """Two tubes of one clip, the third only fills up; at step 0 nothing is sure."""
    boxes = torch.tensor([[[8.0, 8, 30, 40]], [[9, 8, 31, 40]], [[0, 0, 64, 48]]])[None].expand(-1, -1, 3, -1)
    logits = torch.tensor([[[4.0, -9, -9, -9, -9], [3, 2, -9, -9, -9], [9, 9, 9, 9, 9]]])
    return StepOutput(
        step_logits=(torch.full_like(logits, -9), logits),
        step_boxes=(boxes, boxes),
        tubes=boxes,
        proposal_mask=torch.tensor([[True, True, False]]),
    )


def test_detections_are_relative_or_in_pixels_of_the_video(processor, outputs):
    (found,) = processor.post_process_action_detection(outputs)
    assert found["labels"].tolist() == [0, 1]
    torch.testing.assert_close(found["boxes"][0], torch.tensor([8 / 64, 8 / 48, 30 / 64, 40 / 48]))
    (large,) = processor.post_process_action_detection(outputs, target_sizes=[(480, 640)])
    torch.testing.assert_close(large["boxes"][0], torch.tensor([80.0, 80, 300, 400]))
    (none,) = processor.post_process_action_detection(outputs, step=0)
    assert none["boxes"].shape == (0, 4)
    (several,) = processor.post_process_action_detection(outputs, nms_threshold=1.0, top_k=2)
    assert several["labels"].tolist() == [0, 0]


def test_thresholds_and_sizes_are_checked(processor, outputs):
    with pytest.raises(ValueError, match=r"nms_threshold must be in \[0, 1\], got 2"):
        processor.post_process_action_detection(outputs, nms_threshold=2)
    with pytest.raises(ValueError, match="target_sizes must be .* of each of 1 clips, got 2"):
        processor.post_process_action_detection(outputs, target_sizes=[(1, 1), (2, 2)])
