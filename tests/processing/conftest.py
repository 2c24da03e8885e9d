import pytest

from hf_vidmodels.data.video_writing import write_video
from video_examples import GROUPED, moving_square


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def mp4(folder):
    """A video whose frames can be told apart, with B frames and four groups."""
    path = folder / "square.mp4"
    write_video(path, moving_square(), 25, options=GROUPED)
    return path
