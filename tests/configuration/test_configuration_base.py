import math

import pytest
from transformers import PreTrainedConfig

from hf_vidmodels import AsmLocConfig, MalConfig, MalImageProcessor, SttsConfig, SttsVideoProcessor
from hf_vidmodels.auto import METHODS
from hf_vidmodels.processing.processing_l2_caf import L2CafImageProcessor


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AsmLocConfig(num_attention_heads=0), "num_attention_heads must be at least 1, got 0"),
        (lambda: AsmLocConfig(class_threshold=math.nan), "class_threshold must be a finite number, got nan"),
        (lambda: AsmLocConfig(batch_norm_eps=math.inf), "batch_norm_eps must be a finite number, got inf"),
        (lambda: AsmLocConfig(class_threshold=1.5), r"class_threshold must lie in \[0, 1\], got 1.5"),
        (lambda: AsmLocConfig(num_refinement_steps=10**9), "num_refinement_steps must be at most 1000"),
        (
            lambda: MalConfig(num_hidden_layers=10**9),
            "num_hidden_layers must be at most 1000, got 1000000000; a larger",
        ),
        (lambda: MalConfig(mask_thresholds=[0.1, math.nan, 0.2]), "mask_thresholds must be a finite number, got nan"),
        (lambda: MalConfig(hidden_size=2**20), "hidden_size must be at most 65536"),
        (lambda: SttsConfig(image_size=10**9), "image_size must be at most 8192"),
        (lambda: SttsConfig(id2label={0: "a", 2: "b"}), "id2label must name the classes 0 to 1 without gaps.* 0, 2"),
    ],
)
def test_numbers_that_no_model_can_have_are_refused_with_a_reason(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.stem)
def test_all_published_settings_are_within_the_bounds(method):
    for name in method.config_class.presets:
        assert isinstance(method.config_class.from_preset(name), PreTrainedConfig)


@pytest.mark.parametrize("processor_class", [MalImageProcessor, L2CafImageProcessor, SttsVideoProcessor])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_std": [0.2, 0.0, 0.2]}, "image_std must be positive numbers, by which"),
        ({"image_std": [math.nan] * 3}, "image_std must be positive"),
        ({"image_mean": [0.5, math.inf, 0.5]}, "image_mean must be finite numbers"),
        ({"rescale_factor": 0}, "rescale_factor must be positive"),
        ({"crop_size": {"height": 0, "width": 0}}, "crop_?size must"),
        ({"crop_size": {"height": 10**9, "width": 10**9}}, "crop_size must have sides of 1 to 16384 pixels"),
    ],
)
def test_sizes_and_scales_that_make_no_picture_are_refused(processor_class, settings, message):
    with pytest.raises(ValueError, match=message):
        processor_class(**settings)
