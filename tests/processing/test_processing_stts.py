import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hf_vidmodels.data.video_writing import write_video
from hf_vidmodels.hub.code_export import flatten_modules
from hf_vidmodels.processing.processing_stts import SttsVideoProcessor
from video_examples import moving_square

FIXTURES = Path(__file__).parents[1] / "fixtures" / "stts" / "video_input"
SAMPLING = json.loads((FIXTURES / "config.json").read_text())["operators"]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

OPEN_WITHOUT_PACKAGE = """
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("hf_vidmodels", "torchcodec"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
import torch
from transformers import AutoVideoProcessor

folder, video, output = sys.argv[1:]
processor = AutoVideoProcessor.from_pretrained(folder, trust_remote_code=True)
assert type(processor).__module__.startswith("transformers_modules."), type(processor).__module__
torch.save(processor(video, num_views=2)["pixel_values"], output)
processor.save_pretrained(folder + "/again")
"""


def config(**overrides):
    return SimpleNamespace(**({"backbone_type": "mvit", "num_frames": 16, "image_size": 224} | overrides))


@pytest.fixture(scope="module")
def mp4(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "square.mp4"
    write_video(path, moving_square(), 25)
    return path


def test_the_protocol_of_mvit():
    processor = SttsVideoProcessor.from_config(config())
    assert (processor.size.shortest_edge, dict(processor.crop_size)) == (256, {"height": 224, "width": 224})
    assert (processor.image_mean, processor.image_std) == ((0.45,) * 3, (0.225,) * 3)
    assert (processor.evaluation_views, processor.evaluation_crops, processor.view_aggregation) == (5, 1, "sum")
    for case in SAMPLING["mvit_temporal_sampling_16x4_targetfps30_use_offset"]:
        views = processor.frame_sampling.views(case["num_frames"], case["fps"], case["num_clips"])
        assert views[case["clip_idx"]].tolist() == case["indices"]


def test_mvit_of_32_frames_takes_every_third():
    assert SttsVideoProcessor.from_config(config(num_frames=32)).sampling_rate == 3


def test_the_protocol_of_video_swin():
    processor = SttsVideoProcessor.from_config(config(backbone_type="video_swin", num_frames=32))
    assert (processor.size.shortest_edge, dict(processor.crop_size)) == (224, {"height": 224, "width": 224})
    assert (processor.image_mean, processor.image_std) == IMAGENET
    assert (processor.evaluation_views, processor.evaluation_crops, processor.view_aggregation) == (4, 3, "mean")
    for case in SAMPLING["swin_temporal_sampling_32x2_test"]:
        views = processor.frame_sampling.views(case["num_frames"], 30.0, case["num_clips"])
        assert views.tolist() == case["indices"]


def test_what_differs_from_the_protocol_can_be_said():
    processor = SttsVideoProcessor.from_config(config(image_size=56, num_frames=4), sampling_strategy="segments")
    assert processor.frame_sampling.strategy == "segments"
    assert processor(moving_square(9))["pixel_values"].shape == (1, 4, 3, 56, 56)
    with pytest.raises(ValueError, match="backbone_type must be one of mvit, video_swin, got 'vit'"):
        SttsVideoProcessor.from_config(config(backbone_type="vit"))


def test_saving_and_loading_keeps_the_protocol_and_writes_no_auto_map(tmp_path, mp4):
    processor = SttsVideoProcessor.from_config(config(backbone_type="video_swin", num_frames=4, image_size=32))
    processor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "video_preprocessor_config.json").read_text())
    assert "auto_map" not in saved and saved["evaluation_views"] == 4 and saved["sampling_strategy"] == "video_swin"
    loaded = SttsVideoProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    assert torch.equal(loaded(mp4, num_crops=3)["pixel_values"], processor(mp4, num_crops=3)["pixel_values"])
    loaded.auto_map = {"AutoVideoProcessor": "processing_stts.SttsVideoProcessor"}
    loaded.save_pretrained(tmp_path)
    assert "auto_map" not in json.loads((tmp_path / "video_preprocessor_config.json").read_text())


def test_the_exported_code_reads_real_files_without_the_package(tmp_path, mp4):
    processor = SttsVideoProcessor.from_config(config(num_frames=4, image_size=32))
    folder = tmp_path / "exported"
    processor.save_pretrained(folder)
    path = folder / "video_preprocessor_config.json"
    auto_map = {"auto_map": {"AutoVideoProcessor": "processing_stts.SttsVideoProcessor"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | auto_map))
    for stem, source in flatten_modules(["hf_vidmodels.processing.processing_stts"]).items():
        (folder / f"{stem}.py").write_text(source)
    script, output = tmp_path / "open.py", tmp_path / "pixels.pt"
    script.write_text(OPEN_WITHOUT_PACKAGE)
    subprocess.run([sys.executable, "-I", script, folder, mp4, output], check=True, timeout=120)
    assert torch.equal(torch.load(output, weights_only=True), processor(mp4, num_views=2)["pixel_values"])
    assert (folder / "again" / "frame_sampling.py").is_file()


def test_importing_the_processor_imports_no_decoder():
    code = (
        "import sys, hf_vidmodels.processing.processing_stts; assert not {'av', 'datasets', 'cv2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_clips_of_arrays_are_taken_at_the_target_rate():
    frames = np.concatenate([moving_square(60)] * 2)
    batch = SttsVideoProcessor(num_frames=4, sampling_rate=8)(frames, return_metadata=True)
    assert batch["video_metadata"][0].frames_indices == [44, 54, 64, 75]
