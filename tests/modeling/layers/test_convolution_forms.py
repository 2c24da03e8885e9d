"""Folded batch norms and other layouts of memory: the same answers in less time."""

import pytest
import torch

from hf_vidmodels import GtaConfig, GtaForVideoClassification, VideoResNetConfig, VideoResNetForVideoClassification
from hf_vidmodels.modeling.layers.convolution_forms import fold_batch_norms, put_channels_last

NETWORKS = ["tiny-slow", "tiny-slowfast", "tiny-i3d-nonlocal", "tiny-r2plus1d", "tiny-gta"]


def network(preset):
    torch.manual_seed(0)
    if preset == "tiny-gta":
        model = GtaForVideoClassification(GtaConfig.from_preset(preset, num_labels=5)).eval()
    else:
        model = VideoResNetForVideoClassification(VideoResNetConfig.from_preset(preset)).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def clips_for(model):
    config = getattr(model.config, "backbone_config", model.config)
    return torch.randn(2, config.num_frames, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("preset", NETWORKS)
def test_folded_norms_and_channels_last_answer_the_same(preset):
    model = network(preset)
    clips = clips_for(model)
    with torch.no_grad():
        expected = model(clips).logits
        put_channels_last(model)
        torch.testing.assert_close(model(clips).logits, expected, atol=1e-5, rtol=1e-5)
        model.fold_batch_norms()
        torch.testing.assert_close(model(clips).logits, expected, atol=1e-5, rtol=1e-5)
    assert not any(isinstance(module, torch.nn.BatchNorm3d) for module in model.modules())
    kernels = [module.weight for module in model.modules() if isinstance(module, torch.nn.Conv3d)]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last_3d) for kernel in kernels)


def test_a_folded_model_is_neither_trained_nor_saved(tmp_path):
    model = network("tiny-slow")
    with pytest.raises(ValueError, match=r"call model.eval\(\) before"):
        model.train().fold_batch_norms()
    model.eval().fold_batch_norms()
    with pytest.raises(ValueError, match="are folded into its convolutions, so that it cannot be trained"):
        model.train()
    with pytest.raises(ValueError, match="cannot be saved; load it again"):
        model.save_pretrained(tmp_path)
    assert not any(tmp_path.iterdir())


def test_networks_without_convolutions_over_time_are_refused():
    with pytest.raises(ValueError, match="Linear has no 3D convolutions with batch norms"):
        fold_batch_norms(torch.nn.Linear(2, 2).eval())
