import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_vidmodels import SttsConfig, SttsVideoProcessor
from hf_vidmodels.data.video_writing import write_video
from hf_vidmodels.hub.code_export import flatten_modules
from video_examples import moving_square

FIXTURES = Path(__file__).parents[1] / "fixtures" / "stts" / "video_input"
SAMPLING = json.loads((FIXTURES / "config.json").read_text())["operators"]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture(scope="module")
def mp4(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "square.mp4"
    write_video(path, moving_square(), 25)
    return path


def test_the_protocol_of_mvit():
    processor = SttsVideoProcessor.from_config(SttsConfig())
    assert (processor.size.shortest_edge, dict(processor.crop_size)) == (256, {"height": 224, "width": 224})
    assert (processor.image_mean, processor.image_std) == ((0.45,) * 3, (0.225,) * 3)
    assert (processor.evaluation_views, processor.evaluation_crops, processor.view_aggregation) == (5, 1, "sum")
    for case in SAMPLING["mvit_temporal_sampling_16x4_targetfps30_use_offset"]:
        views = processor.frame_sampling.views(case["num_frames"], case["fps"], case["num_clips"])
        assert views[case["clip_idx"]].tolist() == case["indices"]


def test_mvit_of_32_frames_takes_every_third():
    assert SttsVideoProcessor.from_config(SttsConfig(num_frames=32)).sampling_rate == 3


def test_the_protocol_of_video_swin():
    processor = SttsVideoProcessor.from_config(SttsConfig(backbone_type="video_swin", num_frames=32))
    assert (processor.size.shortest_edge, dict(processor.crop_size)) == (224, {"height": 224, "width": 224})
    assert (processor.image_mean, processor.image_std) == IMAGENET
    assert (processor.evaluation_views, processor.evaluation_crops, processor.view_aggregation) == (4, 3, "mean")
    for case in SAMPLING["swin_temporal_sampling_32x2_test"]:
        views = processor.frame_sampling.views(case["num_frames"], 30.0, case["num_clips"])
        assert views.tolist() == case["indices"]


def test_what_differs_from_the_protocol_can_be_said():
    processor = SttsVideoProcessor.from_config(SttsConfig.from_preset("tiny-mvit"), sampling_strategy="segments")
    assert processor.frame_sampling.strategy == "segments"
    assert processor(moving_square(9))["pixel_values"].shape == (1, 8, 3, 32, 32)


def test_saving_and_loading_keeps_the_protocol_and_writes_no_auto_map(tmp_path, mp4):
    processor = SttsVideoProcessor.from_config(SttsConfig.from_preset("tiny-video-swin"))
    processor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "video_preprocessor_config.json").read_text())
    assert "auto_map" not in saved and saved["evaluation_views"] == 4 and saved["sampling_strategy"] == "video_swin"
    loaded = SttsVideoProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    assert torch.equal(loaded(mp4, num_crops=3)["pixel_values"], processor(mp4, num_crops=3)["pixel_values"])
    loaded.auto_map = {"AutoVideoProcessor": "processing_stts.SttsVideoProcessor"}
    loaded.save_pretrained(tmp_path)
    assert "auto_map" not in json.loads((tmp_path / "video_preprocessor_config.json").read_text())


def test_the_exported_code_reads_real_files_by_itself(tmp_path, mp4, monkeypatch):
    sources = flatten_modules(["hf_vidmodels.processing.processing_stts"])
    folder = tmp_path / "exported_stts"
    folder.mkdir()
    for stem, source in sources.items():
        (folder / f"{stem}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    exported = importlib.import_module("exported_stts.processing_stts")
    assert not any("hf_vidmodels" in name for name in vars(exported))
    processor = SttsVideoProcessor.from_config(SttsConfig.from_preset("tiny-mvit"))
    again = exported.SttsVideoProcessor(**processor.to_dict())
    assert torch.equal(again(mp4, num_views=2)["pixel_values"], processor(mp4, num_views=2)["pixel_values"])
    assert sys.modules[type(again).__mro__[1].__module__].open_video.__module__ == "exported_stts.decoding"


def test_every_crop_of_an_oblong_frame_fits():
    config = SttsConfig.from_preset(
        "tiny-video-swin", image_size=[32, 48], spatial_select_layers=[], spatial_keep_ratios=[]
    )
    processor = SttsVideoProcessor.from_config(config)
    for height, width in ((60, 40), (40, 60)):
        pixel_values = processor(np.zeros((3, height, width, 3), np.uint8), num_crops=3)["pixel_values"]
        assert pixel_values.shape == (1, 3, config.num_frames, 3, 32, 48)


def test_clips_of_arrays_are_taken_at_the_target_rate():
    frames = np.concatenate([moving_square(60)] * 2)
    batch = SttsVideoProcessor(num_frames=4, sampling_rate=8)(frames, return_metadata=True)
    assert batch["video_metadata"][0].frames_indices == [44, 54, 64, 75]
