import numpy as np
import pytest

from hf_vidmodels.data.video_writing import write_video


def grey_frames(num_frames, height=48, width=64):
    return np.full((num_frames, height, width, 3), 120, np.uint8)


@pytest.mark.parametrize(
    ("frames", "fps", "name", "sentence"),
    [
        (grey_frames(2), 25, "video.txt", "suffix must be one of .mp4"),
        (grey_frames(2), 0, "video.mp4", "fps must be positive"),
        (grey_frames(2), float("nan"), "video.mp4", "fps must be positive"),
        ([], 25, "video.mp4", "no frames to write"),
        (grey_frames(2).astype(float), 25, "video.mp4", "frame 0 .* must be uint8"),
        ([*grey_frames(2), grey_frames(1, 50)[0]], 25, "video.mp4", "frame 2 .* after frames of"),
    ],
)
def test_what_cannot_be_written_leaves_no_file(tmp_path, frames, fps, name, sentence):
    with pytest.raises(ValueError, match=sentence):
        write_video(tmp_path / name, frames, fps)
    assert list(tmp_path.iterdir()) == []
