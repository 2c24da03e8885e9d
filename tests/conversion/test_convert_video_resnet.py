"""Published residual video networks: every layout gives the same model, and what does not fit is said."""

import pickle

import numpy as np
import pytest
import torch
from torchvision.models import resnet50

from hf_vidmodels.configuration.configuration_video_resnet import VideoResNetConfig
from hf_vidmodels.conversion.caffe2_pickles import read_caffe2_weights
from hf_vidmodels.conversion.convert_video_resnet import convert_video_resnet, inflate
from hf_vidmodels.conversion.video_resnet_layouts import layouts, name_sites
from hf_vidmodels.modeling.modeling_video_resnet import VideoResNetForVideoClassification
from video_resnet_cases import FIXTURES, load_case

CASE = load_case("slow_r50", FIXTURES / "slow_r50")


def tiny_slowfast(seed=0, **changes):
    torch.manual_seed(seed)
    model = VideoResNetForVideoClassification(VideoResNetConfig.from_preset("tiny-slowfast", **changes)).eval()
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.normal_(layer.running_mean, std=0.1)
    return model


def in_layout(model, layout):
    """Give the weights of a model by the names of a layout."""
    theirs = dict(name_sites(layout))
    return {theirs[name.removeprefix("head.")]: value for name, value in model.state_dict().items()}


def layout_named(name, mark=None):
    return next(layout for layout in layouts() if layout.name == name and (mark is None or mark in layout.mark))


def test_a_network_of_slowfast_or_mmaction_is_the_same_network():
    model = tiny_slowfast()
    clips = torch.randn(2, 8, 3, 32, 32)
    for layout in (layout_named("SlowFast"), layout_named("mmaction2", "slow_path")):
        options = {"alpha": 4, "head_pooling": "global"}
        found = convert_video_resnet(in_layout(model, layout), options)
        assert found.config.depths == model.config.depths
        with torch.no_grad():
            assert torch.equal(found(clips).logits, model(clips).logits)


def test_lateral_connections_without_norm_are_seen():
    model = tiny_slowfast(fusion_norm=False)
    found = convert_video_resnet(in_layout(model, layout_named("mmaction2", "slow_path")), {"alpha": 4})
    assert found.config.fusion_norm is False


def test_alpha_is_asked_for_where_weights_do_not_tell_it():
    weights = in_layout(tiny_slowfast(), layout_named("SlowFast"))
    with pytest.raises(ValueError, match="weights do not tell alpha.*kernel 5 goes with 4 and with 8.*SLOWFAST.ALPHA"):
        convert_video_resnet(weights, {})


def test_a_2d_network_is_inflated_where_the_options_ask_for_time():
    state = resnet50(num_classes=3, width_per_group=64).state_dict()
    model = convert_video_resnet(state, {"arch": "slow", "num_frames": 4})
    kernel = model.backbone.pathways[0].stages[3][0].reduce.convolution.weight
    assert kernel.shape == (512, 1024, 3, 1, 1)
    assert torch.equal(kernel, inflate(state["layer4.0.conv1.weight"], 3))
    torch.testing.assert_close(kernel.sum(2), state["layer4.0.conv1.weight"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"embedding_size": 8},
            r"has shape \(.*but the configuration asks for \(.*embedding_size( than 8)? would fit",
        ),
        ({"num_labels": 9}, r"blocks.5.proj.* has shape \(7.*asks for \(9.*num_labels=7 would fit"),
        ({"arch": "i3d", "temporal_kernel_sizes": None}, "a temporal kernel of 1 would fit, by arch or"),
        ({"arch": "slower"}, "MODEL.ARCH or arch must be one of c2d, .*got 'slower'"),
    ],
)
def test_options_that_do_not_fit_name_the_key_both_shapes_and_the_field(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        convert_video_resnet(CASE.weights, CASE.options | options)


def test_weights_left_over_or_lacking_are_named():
    with pytest.raises(ValueError, match="has no such weights: blocks.9.strange"):
        convert_video_resnet(CASE.weights | {"blocks.9.strange": torch.zeros(1)}, CASE.options)
    without = {
        name: value for name, value in CASE.weights.items() if name != "blocks.2.res_blocks.1.branch2.norm_b.bias"
    }
    with pytest.raises(ValueError, match=r"lacks weights of the model: .*stages\.1\.1\.spatial\.normalization\.bias"):
        convert_video_resnet(without, CASE.options)
    with pytest.raises(ValueError, match="are of none of the known layouts: .*pytorchvideo.*torchvision"):
        convert_video_resnet({"encoder.weight": torch.zeros(2)}, {})


def test_counters_of_batches_may_be_missing():
    old = {name: value for name, value in CASE.weights.items() if not name.endswith("num_batches_tracked")}
    assert len(old) < len(CASE.weights)
    with torch.no_grad():
        found = convert_video_resnet(old, CASE.options)(CASE.clips()).logits
    torch.testing.assert_close(found, CASE.io["logits"], atol=1e-5, rtol=1e-5)


def caffe2_file(path, model, **extra):
    weights = in_layout_of_caffe2(model)
    blobs = {name: value.numpy() for name, value in weights.items()} | {
        "lr": np.zeros(1),
        "conv1_w_momentum": np.ones(2),
    }
    path.write_bytes(pickle.dumps({"blobs": blobs, **extra}, protocol=2))
    return path


def in_layout_of_caffe2(model):
    names = dict(name_sites(layout_named("SlowFast (Caffe2)")))
    weights = {}
    for name, value in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            weights[names[name.removeprefix("head.")]] = value
    behind = {"lateral0": "t_pool1_subsample"} | {
        f"lateral{stage}": f"t_res{stage + 1}_0_branch2c_bn_subsample" for stage in (1, 2, 3)
    }
    return {
        behind.get(name.split("_")[0], name.split("_")[0]) + name[len(name.split("_")[0]) :]: value
        for name, value in weights.items()
    }


def test_a_caffe2_file_gives_its_network_without_the_state_of_its_optimiser(tmp_path):
    model = tiny_slowfast()
    path = caffe2_file(tmp_path / "model.pkl", model)
    assert "lr" not in read_caffe2_weights(path)
    found = convert_video_resnet(path, {"SLOWFAST.ALPHA": 4, "head_pooling": "global"})
    clips = torch.randn(1, 8, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(found(clips).logits, model(clips).logits)


class Hostile:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (self.target, "w"))


def test_a_hostile_caffe2_file_runs_nothing(tmp_path):
    target = tmp_path / "written"
    path = caffe2_file(tmp_path / "model.pkl", tiny_slowfast(), cfg=Hostile(str(target)))
    with pytest.raises(ValueError, match=r"the pickle .*model.pkl is refused: it wants to call .*open"):
        convert_video_resnet(path, {})
    assert not target.exists()
