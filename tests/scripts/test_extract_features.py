import json

import numpy as np
import pytest
from transformers import AutoConfig, AutoModel

from feature_extraction_examples import RESNET, save_tiny_checkpoint, tiny_extractor, write_moving_video
from hf_vidmodels import HierarchicalMotionConfig, HierarchicalMotionForPreTraining, HierarchicalMotionVideoProcessor


@pytest.fixture
def videos(tmp_path):
    for seed, name in enumerate("ab"):
        write_moving_video(tmp_path / "videos" / f"{name}.mp4", 24 + 16 * seed, seed)
    return tmp_path / "videos"


@pytest.fixture
def model_folder(tmp_path):
    AutoModel.from_config(AutoConfig.for_model(**RESNET)).save_pretrained(tmp_path / "model")
    described = {"size": {"shortest_edge": 24}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "model" / "preprocessor_config.json").write_text(json.dumps(described))
    return tmp_path / "model"


def test_a_model_s_folder_gives_features_and_a_table(videos, model_folder, tmp_path, extract):
    status, out, err = extract("--videos", videos, "--model", model_folder, "--streams", "rgb", "flow")
    assert status == 0, err
    assert np.load(tmp_path / "out" / "b.npy").shape == (3, 16)
    lines = [line.split() for line in out.splitlines()]
    assert ["a", "0.96", "s", "2", "1.28", "s"] in lines
    assert ["b", "1.60", "s", "3", "1.92", "s"] in lines
    assert "5 rows of 16 for 2 videos" in out and "0 were there before, 0 unreadable" in out


def test_a_model_that_learned_motion_gives_the_means_of_its_highest_level(videos, tmp_path, extract):
    config = HierarchicalMotionConfig.from_preset("tiny-motion")
    HierarchicalMotionForPreTraining(config).save_pretrained(tmp_path / "model")
    HierarchicalMotionVideoProcessor.from_config(config).save_pretrained(tmp_path / "model")
    status, _, err = extract("--videos", videos, "--model", tmp_path / "model", "--streams", "rgb")
    assert status == 0, err
    assert np.load(tmp_path / "out" / "b.npy").shape == (3, 10)


def test_options_of_pictures_and_time_reach_the_features(videos, model_folder, tmp_path, extract):
    options = ("--crop_size", 16, "--image_mean", 0, 0, 0, "--flow_bound", 5, "--num_frames", 3)
    time_axis = ("--frames_per_second", 12.5, "--frames_per_snippet", 4, "--snippet_stride", 2)
    status, _, err = extract(
        "--videos", videos, "--model", model_folder, "--streams", "flow", "rgb", *options, *time_axis
    )
    assert status == 0, err
    described = json.loads((tmp_path / "out" / "features.json").read_text())["extractor"]
    assert described["frames_per_second"] == 12.5
    assert (described["frames_per_snippet"], described["snippet_stride"]) == (4, 2)
    rgb, flow = described["streams"]["rgb"], described["streams"]["flow"]
    assert rgb["image_mean"] == [0, 0, 0] and flow["flow_bound"] == 5 and "flow_bound" not in rgb
    assert rgb["crop_size"] == flow["crop_size"] == 16 and rgb["size"] == 24 and flow["num_frames"] == 3


def test_a_checkpoint_and_its_settings_file_give_the_features_it_was_trained_with(videos, tmp_path, extract):
    checkpoint = save_tiny_checkpoint(tmp_path / "checkpoint")
    status, _, err = extract("--videos", videos, "--checkpoint", checkpoint)
    assert status == 0, err
    extractor = tiny_extractor("rgb", "flow")
    expected = extractor(videos / "a.mp4")
    np.testing.assert_allclose(np.load(tmp_path / "out" / "a.npy"), expected, atol=1e-6)

    (tmp_path / "settings.json").write_text(json.dumps(extractor.to_dict()))
    status, out, err = extract("--videos", videos, "--settings", tmp_path / "settings.json")
    assert status == 0, err
    assert "2 were there before" in out


def test_bfloat16_may_be_chosen_for_settings_that_say_nothing_of_it(videos, tmp_path, extract):
    (tmp_path / "settings.json").write_text(json.dumps(tiny_extractor().to_dict()))
    words = ("--videos", videos, "--settings", tmp_path / "settings.json")
    status, out, err = extract(*words, "--mixed_precision", "bf16")
    assert status == 0 and "on cpu in bfloat16" in out, err
    assert json.loads((tmp_path / "out" / "features.json").read_text())["extractor"]["mixed_precision"] == "bf16"
    status, _, err = extract(*words)
    assert status == 2 and "were made with extractor.mixed_precision = 'bf16', now it is None" in err


def test_unreadable_videos_are_listed_and_decide_the_exit_status(videos, model_folder, tmp_path, extract):
    (videos / "broken.mp4").write_bytes(b"no video")
    status, out, err = extract("--videos", videos, "--model", model_folder)
    assert status == 2
    assert "unreadable: broken: " in out and "1 unreadable" in out
    assert err.splitlines()[-1].startswith("error: 1 of 3 videos have no features")
    assert (tmp_path / "out" / "b.npy").is_file()
    status, out, _ = extract("--videos", videos, "--model", model_folder, "--max_failed", 0.5)
    assert status == 0 and "2 were there before, 1 unreadable" in out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--videos", "absent"), "there is no folder absent"),
        (("--model", "a", "b", "c"), "--model takes one value or one for each of the streams ['rgb'], got 3"),
        (("--flow_bound", "3"), "--flow_bound is for the flow stream; add it to --streams"),
        (("--settings", "s.json"), "give one of --model, --settings and --checkpoint, got model and settings"),
        (("--model", "torchvision:r3d_18"), "needs either weights (a safetensors file) or random_init_seed"),
        (("--model", "./no/such/model"), "there is no model folder ./no/such/model"),
    ],
)
def test_wrong_options_are_said_in_one_sentence(videos, model_folder, extract, options, sentence):
    given = {"--videos": videos, "--model": model_folder}
    status, _, err = extract(
        *(item for pair in given.items() if pair[0] not in options[:1] for item in pair), *options
    )
    assert status == 2 and "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: ") and sentence in err.splitlines()[-1]


def test_settings_leave_no_room_for_single_options(videos, tmp_path, extract):
    (tmp_path / "settings.json").write_text(json.dumps(tiny_extractor().to_dict()))
    status, _, err = extract("--videos", videos, "--settings", tmp_path / "settings.json", "--size", 32)
    assert status == 2 and "--size is for --model; with --settings it is part of the settings" in err
    (tmp_path / "settings.json").write_text("{")
    status, _, err = extract("--videos", videos, "--settings", tmp_path / "settings.json")
    assert status == 2 and "settings.json is not valid JSON" in err


def test_the_help_teaches(extract):
    status, out, _ = extract("--help")
    assert status == 0
    for word in ("--num_processes", "--streams", "torchvision:r3d_18", "features.json", "half its frames"):
        assert word in out
