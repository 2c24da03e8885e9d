import numpy as np
import torch
from datasets import ClassLabel, Dataset, Features, Video

from feature_extraction_examples import write_moving_video
from hf_vidmodels.data.embedded.embedded_orders import MOTIONS
from hf_vidmodels.data.mirrored_classes import mirrored_classes
from hf_vidmodels.data.video_clips import VideoClips
from hf_vidmodels.processing.frame_sampling import FrameSampling


def test_a_mirror_exchanges_the_sides_that_classes_name():
    names = [
        "Pulling something from left to right",
        "Pulling something from right to left",
        "Dropping something",
        "Turning the camera left",
        "Turning leftwards",
        "turning Rightwards",
        "Switching on a bright light",
        "Turning the camera counterclockwise",
        "Turning the camera clockwise",
    ]
    assert mirrored_classes(names) == [1, 0, 2, None, 5, 4, 6, 8, 7]


def test_the_embedded_motions_turn_the_other_way_in_a_mirror():
    # The second bit of a class is its turn.
    assert mirrored_classes(MOTIONS) == [label ^ 2 for label in range(len(MOTIONS))]


def generator_for(epoch, index):
    return np.random.default_rng((epoch, index))


def test_mirrored_clips_take_the_mirrored_class_and_others_stay(tmp_path):
    names = ["left", "right", "turning left"]
    videos = [str(write_moving_video(tmp_path / f"{number}.mp4", 20)) for number in range(3)]
    features = Features({"video": Video(decode=False), "label": ClassLabel(names=names)})
    dataset = Dataset.from_dict({"video": videos, "label": [0, 1, 2]}, features=features)

    def clips(probability):
        sampling = FrameSampling("segments", num_frames=4)
        mirrored = mirrored_classes(names)
        return VideoClips(dataset, sampling, generator_for, None, mirrored, probability)

    for index, (before, after) in enumerate(zip((0, 1, 2), (1, 0, 2), strict=True)):
        plain, flipped = clips(0.0)[0, index], clips(1.0)[0, index]
        assert int(plain["labels"]) == before
        assert int(flipped["labels"]) == after
        expected = plain["pixel_values"].flip(-1) if before != after else plain["pixel_values"]
        assert torch.equal(flipped["pixel_values"], expected)
