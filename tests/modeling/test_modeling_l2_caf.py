"""What `L2CafForObjectLocalization` promises beyond the official values: wrapping, batches, saving and bad input."""

import logging
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    ResNetForImageClassification,
    ResNetModel,
    ViTConfig,
    ViTForImageClassification,
)

from hf_vidmodels import L2CafConfig, L2CafForObjectLocalization
from hf_vidmodels.modeling.layers.embedding_networks import ImageEmbeddingNetwork, RecurrentEmbeddingNetwork
from l2_caf_networks import head_network, tensors, tiny_network
from method_examples import l2_caf_config


def resnet_config():
    return l2_caf_config().network_config


def resnet():
    torch.manual_seed(0)
    return ResNetForImageClassification(resnet_config()).eval()


def convnext():
    torch.manual_seed(0)
    config = ConvNextConfig(hidden_sizes=[8, 8, 12, 16], depths=[1, 1, 1, 1], num_labels=5, image_size=64)
    return ConvNextForImageClassification(config).eval()


def vit():
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=64, patch_size=16
    )
    return ViTForImageClassification(config).eval()


def pictures(count=2, size=64):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def answer_of(network, inputs):
    with torch.no_grad():
        answer = network(inputs)
    if torch.is_tensor(answer):
        return answer
    return answer.logits if hasattr(answer, "logits") else answer.pooler_output.flatten(1)


WRAPPED = {
    "resnet": (resnet, None, pictures),
    "an intermediate layer": (resnet, "resnet.encoder.stages.1", pictures),
    "a layer under a skip connection": (resnet, "resnet.encoder.stages.2.layers.0.layer.0", pictures),
    "convnext": (convnext, None, pictures),
    "tokens of a vit": (vit, "vit.layers.0", pictures),
    "an encoder": (lambda: ResNetModel(resnet_config()).eval(), None, pictures),
    "an embedding network": (
        lambda: ImageEmbeddingNetwork(ResNetModel(resnet_config()), 16, 6).eval(),
        None,
        pictures,
    ),
    "a recurrent network": (
        lambda: RecurrentEmbeddingNetwork(ResNetModel(resnet_config()), 16, 7, 6).eval(),
        None,
        lambda: pictures(6).view(2, 3, 3, 64, 64),
    ),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrapping_explaining_saving_and_loading_leave_predictions_bit_identical(name, tmp_path):
    make, layer, inputs = WRAPPED[name]
    network, inputs = make(), inputs()
    before = answer_of(network, inputs)
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    model = L2CafForObjectLocalization.from_network(network, layer, max_iterations=60)
    explanation = model.explain(inputs)
    assert torch.isfinite(explanation.attention).all()
    norms = explanation.attention.flatten(-2).norm(dim=-1)
    torch.testing.assert_close(norms, torch.ones_like(norms))
    for module in (model.network, network):
        assert torch.equal(answer_of(module, inputs), before)
    assert all(torch.equal(weights[key], value) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    model.save_pretrained(tmp_path)
    loaded = L2CafForObjectLocalization.from_pretrained(tmp_path).eval()
    assert torch.equal(answer_of(loaded.network, inputs), before)
    assert torch.equal(loaded.explain(inputs).attention, explanation.attention)


def test_timm_networks_are_wrapped_and_saved_too(tmp_path):
    pytest.importorskip("timm")
    from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

    torch.manual_seed(0)
    network = TimmWrapperForImageClassification(TimmWrapperConfig(architecture="resnet18", num_labels=7)).eval()
    before = answer_of(network, pictures())
    model = L2CafForObjectLocalization.from_network(network)
    assert model.filter_layer(pictures()) == "timm_model.layer4"
    model.save_pretrained(tmp_path)
    loaded = L2CafForObjectLocalization.from_pretrained(tmp_path).eval()
    assert torch.equal(answer_of(loaded.network, pictures()), before)


def test_a_network_of_ones_own_is_loaded_into_one_of_its_kind(tmp_path):
    network = tiny_network("classifier")
    before = answer_of(network, pictures(size=28))
    L2CafForObjectLocalization.from_network(network, "trunk.stage2").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="network_config is missing"):
        L2CafForObjectLocalization.from_pretrained(tmp_path)
    other = tiny_network("classifier")
    nn.init.zeros_(other.head.weight)
    loaded = L2CafForObjectLocalization.from_pretrained(tmp_path, network=other).eval()
    assert torch.equal(answer_of(loaded.network, pictures(size=28)), before)


def test_the_solver_that_auto_picks_is_told(caplog):
    with caplog.at_level(logging.INFO, "hf_vidmodels"):
        assert L2CafForObjectLocalization.from_network(resnet()).explain(pictures()).solver == "exact"
        model = L2CafForObjectLocalization.from_network(convnext(), max_iterations=2)
        assert model.explain(pictures()).solver == "adam"
    assert "solver 'auto' uses 'exact'" in caplog.text
    assert "solver 'auto' uses 'adam'" in caplog.text


@pytest.mark.parametrize("objective", ["class_oblivious", "class_specific", "centered"])
def test_no_iteration_beats_the_exact_filter(objective):
    model = L2CafForObjectLocalization.from_network(resnet())
    classes = None if objective == "class_oblivious" else [[0, 3], [2, 4]]
    exact = model.explain(pictures(), classes, objective=objective, solver="exact")
    for solver in ("adam", "sgd"):
        found = model.explain(pictures(), classes, objective=objective, solver=solver)
        assert (exact.objective <= found.objective + 1e-6).all()


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("make", [resnet, convnext])
def test_a_batch_gives_what_each_problem_gives_alone(make, solver):
    model = L2CafForObjectLocalization.from_network(make(), objective="class_specific", min_error=1e-4)
    images, classes = pictures(3), [[0, 1], [2, 3], [4, 0]]
    together = model.explain(images, classes, solver=solver)
    for image in range(3):
        for query in range(2):
            alone = model.explain(images[image : image + 1], classes[image][query], solver=solver)
            torch.testing.assert_close(together.attention[image, query], alone.attention[0, 0], atol=1e-3, rtol=0)
            assert abs(int(together.num_updates[image, query]) - int(alone.num_updates)) <= 50


def test_problems_freeze_at_their_own_stop():
    io = tensors("filter_traces_7x7")
    model = L2CafForObjectLocalization.from_network(head_network(), "layer", solver="sgd")
    found = model.explain(io["feature_map"][:, :, :, :], [[2, 7]], objective="class_specific")
    assert found.num_updates.tolist() == [[1000, 851]]
    assert torch.isfinite(found.losses[0, 1, :851]).all()
    assert found.losses[0, 1, 851:].isnan().all()


def test_only_the_part_after_the_layer_runs_again():
    network = tiny_network("classifier")
    calls = {"conv1": 0, "conv3": 0}
    for name in calls:
        network.trunk.get_submodule(name).register_forward_hook(
            lambda *_, name=name: calls.__setitem__(name, calls[name] + 1)
        )
    original = nn.Conv2d.forward
    ran = []

    def counted(module, inputs):
        ran.append(module)
        return original(module, inputs)

    model = L2CafForObjectLocalization.from_network(network, "trunk.stage2", solver="sgd", max_iterations=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Conv2d, "forward", counted)
        model.explain(pictures(size=28))
    assert ran.count(network.trunk.conv1) == 1
    assert ran.count(network.trunk.conv3) > 20


def test_per_frame_filters_one_frame_at_a_time():
    io = tensors("tiny_networks")
    frames = io["video_frames"][None]
    model = L2CafForObjectLocalization.from_network(
        tiny_network("recurrent"), frame_mode="per_frame", solver="sgd", max_iterations=60
    )
    found = model.explain(frames)
    assert found.attention.shape == (1, 1, 4, 7, 7)
    assert found.objective.shape == (1, 4)
    joint = L2CafForObjectLocalization.from_network(tiny_network("recurrent"), solver="sgd", max_iterations=60)
    assert not torch.allclose(joint.explain(frames).attention, found.attention)


def test_modes_and_the_training_state_come_back():
    network = resnet().train()
    network.resnet.eval()
    modes = [module.training for module in network.modules()]
    L2CafForObjectLocalization.from_network(network).eval()
    for module, mode in zip(network.modules(), modes, strict=True):
        module.training = mode
    model = L2CafForObjectLocalization(L2CafConfig(network_config=network.config), network=network)
    model.explain(pictures())
    assert [module.training for module in network.modules()] == modes


def test_boxes_lie_in_the_picture_and_shrink_with_the_threshold():
    model = L2CafForObjectLocalization.from_network(resnet(), objective="class_specific", top_k=2)
    found = model.explain(pictures(), thresholds=(0.0, 0.3, 0.6))
    assert found.boxes.shape == (2, 2, 3, 4)
    assert ((found.boxes >= 0) & (found.boxes < 64)).all()
    assert found.heatmaps.shape == (2, 2, 64, 64)
    assert found.heatmaps.min() >= 0
    assert found.heatmaps.max() <= 1


def explain(network=None, layer=None, images=None, classes=None, config=None, **options):
    model = L2CafForObjectLocalization.from_network(resnet() if network is None else network, layer, **(config or {}))
    return model.explain(pictures() if images is None else images, classes, **options)


class Poisoned(nn.Module):
    """A network whose feature map or output can be made unusable."""

    def __init__(self, value, answer=None):
        super().__init__()
        self.layer, self.value, self.answer = nn.Identity(), value, answer
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, pixel_values):
        maps = self.layer(pixel_values[:, :, :4, :4] * 0 + self.value)
        return self.answer if self.answer is not None else torch.nan_to_num(maps).mean((2, 3))


BAD_INPUT = {
    "an unknown layer": (
        {"layer": "resnet.encoder.stage.3"},
        "no layer 'resnet.encoder.stage.3'; nearest names: resnet.encoder.stages.3.*the last that give a feature map",
    ),
    "a layer of numbers": ({"layer": "classifier.1"}, r"shape \(2, 5\), not a feature map"),
    "a 1 x 1 map": ({"layer": "resnet.pooler"}, "1 x 1 map with nothing to choose; take an earlier layer"),
    "a network that ends in tokens": ({"network": vit()}, "ends in tokens .* name a layer with target_layer"),
    "tokens on an unknown grid": (
        {"network": nn.Sequential(nn.Conv2d(3, 4, 16, 16), nn.Flatten(2)), "layer": "1"},
        "gives 16 tokens without a known grid; set token_grid|shape",
    ),
    "a class out of range": (
        {"classes": 5, "objective": "class_specific"},
        r"class id 5 is out of range, classes are 0\.\.4",
    ),
    "classes of another batch": (
        {"classes": [1, 2, 3], "objective": "class_specific"},
        "class_ids must be one class, one for each of 2 images",
    ),
    "a class without an objective for it": ({"classes": 1}, "class_ids have no meaning for 'class_oblivious'"),
    "NaN in the map": ({"network": Poisoned(float("nan")), "layer": "layer"}, "feature map of 'layer' has NaN"),
    "NaN in the output": (
        {"network": Poisoned(1.0, torch.full((2, 3), float("nan"))), "layer": "layer"},
        "output has NaN",
    ),
    "neither logits nor embedding": (
        {"network": Poisoned(1.0, SimpleNamespace(hidden=1)), "layer": "layer"},
        "neither logits nor an embedding",
    ),
    "an output of another shape": (
        {"network": Poisoned(1.0, torch.zeros(2, 3, 4)), "layer": "layer"},
        r"must be logits or an embedding of shape \(B, K\), got \(2, 3, 4\)",
    ),
    "mixed sizes": (
        {"images": [torch.zeros(3, 64, 64), torch.zeros(3, 32, 64)]},
        "images of a batch must have one size",
    ),
    "a video for images": ({"images": torch.zeros(1, 2, 3, 64, 64)}, r"pixel values \(B, 3, H, W\)"),
    "no images": ({"images": []}, "at least one image"),
    "exact behind something else": (
        {"network": convnext(), "solver": "exact"},
        "solver 'exact' needs average pooling",
    ),
    "exact with softmax": (
        {"config": {"filter_type": "softmax"}, "solver": "exact"},
        "filter_type is 'softmax'; use 'adam' or 'sgd'",
    ),
    "gauss on a small map": ({"config": {"filter_type": "gauss"}}, "'gauss' is defined on 7 x 7 maps only"),
    "a class for a retrieval network": (
        {"network": ResNetModel(resnet_config()), "objective": "centered"},
        "needs class logits",
    ),
    "an unknown objective": ({"objective": "best"}, "objective must be one of"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_refused_in_one_sentence(case):
    arguments, message = BAD_INPUT[case]
    with pytest.raises(ValueError, match=message) as caught:
        explain(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("solver", ["auto", "adam"])
def test_a_constant_map_gives_uniform_attention_and_a_warning(solver):
    for value in (0.0, 2.0):
        with pytest.warns(UserWarning, match="the same in every cell for image 0, 1: its attention is uniform"):
            found = explain(Poisoned(value), "layer", config={"max_iterations": 5}, solver=solver)
        torch.testing.assert_close(found.attention, torch.full((2, 1, 4, 4), 0.25))
        assert not found.heatmaps.any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"objective": "class"}, "objective must be one of"),
        ({"task": "retrieval", "objective": "centered"}, "needs class logits"),
        ({"solver": "exact", "filter_type": "softmax"}, "needs filter_type 'l2norm'"),
        ({"box_threshold": 1.0}, r"box_threshold must be in \[0, 1\)"),
        ({"max_iterations": 0}, "max_iterations must be positive"),
        ({"token_grid": [7]}, "token_grid must be"),
        ({"network_config": {"hidden": 1}}, "must name its model_type"),
        ({"network_config": {"model_type": "nothing"}}, "which transformers does not know"),
    ],
)
def test_contradicting_configurations_are_refused(fields, message):
    with pytest.raises(Exception, match=message):
        L2CafConfig(**fields)
