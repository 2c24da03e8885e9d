"""Official Cross-X checkpoints, both ways, trunks of torchvision and timm, and those that are neither."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cross_x_cases import CASES, load_case
from hf_vidmodels import CrossXConfig, CrossXForImageClassification
from hf_vidmodels.conversion.convert_checkpoint import convert_official_checkpoint
from hf_vidmodels.conversion.convert_cross_x import convert_cross_x, export_cross_x, official_weights


def weights_of(**fields):
    """Official weights of a tiny network; all buffers and norms have values of their own."""
    torch.manual_seed(0)
    model = CrossXForImageClassification(CrossXConfig.from_preset("tiny-cross-x", **({"num_labels": 5} | fields)))
    return {
        name: torch.randn_like(value).abs() if value.is_floating_point() else value + 3
        for name, value in official_weights(model).items()
    }


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], value) for name, value in theirs.items())


# -- official checkpoints


@pytest.mark.parametrize("name", CASES)
def test_official_weights_go_back_to_their_names_bit_by_bit(name):
    case = load_case(name)
    assert same(export_cross_x(convert_official_checkpoint("cross_x", case.weights, case.options)), case.weights)


@pytest.mark.parametrize("fields", [{}, {"backbone_type": "senet", "num_parts": 3}, {"num_parts": 5}])
def test_sizes_and_classes_follow_from_the_weights(fields):
    weights = weights_of(**fields)
    model = convert_cross_x(weights, {})
    assert same(export_cross_x(model), weights) and not model.training
    expected = CrossXConfig.from_preset("tiny-cross-x", **fields)
    for name in ("depths", "embedding_size", "base_width", "expansion", "backbone_type", "num_parts"):
        assert getattr(model.config, name) == getattr(expected, name)
    assert model.config.num_labels == 5


@pytest.mark.parametrize("key", ["state_dict", "best_state_dict"])
def test_a_checkpoint_of_training_is_read(key, tmp_path):
    weights = weights_of()
    other = {name: value + 1 for name, value in weights.items()}
    parts = {"state_dict": weights, "best_state_dict": other}
    content = {
        **{part: {f"module.{name}": value for name, value in values.items()} for part, values in parts.items()},
        "epoch": 30,
        "best_epoch": 17,
        "best_acc": 0.87,
    }
    torch.save(content, tmp_path / "checkpoint.pth")
    options = {} if key == "state_dict" else {"weights": key}
    assert same(export_cross_x(convert_cross_x(tmp_path / "checkpoint.pth", options)), parts[key])


@pytest.mark.parametrize("form", [list, dict])
def test_classes_get_their_names(form):
    names = ["auk", "bunting", "crow", "dove", "eider"]
    given = names if form is list else {str(number): name for number, name in enumerate(names)}
    config = convert_cross_x(weights_of(), {"id2label": given}).config
    assert config.id2label == dict(enumerate(names)) and config.label2id["dove"] == 3


def test_new_classes_drop_the_heads_and_say_so(tmp_path, caplog):
    weights = weights_of()
    save_file(weights, tmp_path / "weights.safetensors")
    options = {"id2label": ["a", "b", "c"], "new_classes": True}
    model = convert_cross_x(tmp_path / "weights.safetensors", options)
    assert model.config.num_labels == 3 and "start afresh" in caplog.text and "fc_cmbn.weight" in caplog.text
    back = export_cross_x(model)
    assert all(torch.equal(back[name], value) for name, value in weights.items() if not name.startswith("fc_"))


def test_a_checkpoint_without_the_merged_head_in_use_keeps_its_layers():
    weights = weights_of()
    model = convert_cross_x(weights, {"use_combined_branch_in_loss_and_scores": False})
    assert same(export_cross_x(model), weights)
    assert model.config.head_names == ("ultimate", "penultimate")


@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        (lambda weights: weights.pop("bn1.bias"), {}, "the checkpoint lacks weights of the model: bn1.bias"),
        (lambda weights: weights.pop("fc_plty.bias"), {}, "the checkpoint lacks weights of the model: fc_plty.bias"),
        (
            lambda weights: weights.pop("layer4.1.me.parts.1.2.bias"),
            {},
            "the checkpoint lacks weights of the model: layer4.1.me.parts.1.2.bias",
        ),
        (lambda weights: weights.update(extra=torch.ones(1)), {}, "the model has no place for: extra"),
        (lambda weights: None, {"nparts": 3}, "the checkpoint lacks weights of the model: bn3_3.bias"),
        (lambda weights: None, {"num_classes": 3}, "has 5 classes but num_labels is 3"),
        (lambda weights: None, {"id2label": ["a", "b"]}, 'has 5 classes but num_labels is 2.*"new_classes": true'),
        (lambda weights: None, {"preset": "cross_x_resnet50_dogs"}, "has 5 classes but num_labels is 120"),
        (lambda weights: None, {"npart": 3}, "options that Cross-X does not know: npart"),
        (lambda weights: None, {"me_reduction": 4}, "layer3.1.me.parts.0.* has shape"),
        (lambda weights: None, {"excite_parts": True}, "excite_parts is for a trunk without parts"),
        (lambda weights: weights.clear() or weights.update(a=torch.ones(1)), {}, "neither of Cross-X nor a ResNet"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_with_the_first_names(change, options, sentence):
    weights = weights_of()
    change(weights)
    with pytest.raises(ValueError, match=sentence):
        convert_cross_x(weights, options)


def test_a_prefix_that_matches_nothing_is_refused():
    with pytest.raises(ValueError, match="its first names are net.conv1.weight"):
        convert_cross_x({f"net.{name}": value for name, value in weights_of().items()}, {})


def test_a_model_of_one_part_has_no_official_form():
    model = CrossXForImageClassification(CrossXConfig.from_preset("tiny-cross-x", num_parts=1, num_labels=5))
    with pytest.raises(ValueError, match="this model has num_parts=1"):
        export_cross_x(model)


# -- trunks


def with_statistics(network):
    """Give a network's norms values of their own, and put it into evaluation mode."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.normal_(module.bias, 0, 0.1)
    return network.eval()


def torchvision_trunk():
    from torchvision.models.resnet import Bottleneck, ResNet

    return ResNet(Bottleneck, [1, 1, 2, 2], num_classes=4)


def timm_trunk(**options):
    from timm.models.resnet import Bottleneck, ResNet

    return ResNet(Bottleneck, [1, 1, 2, 2], num_classes=4, **options)


TRUNKS = {
    "torchvision": torchvision_trunk,
    "timm": timm_trunk,
    "timm with excitations": lambda: timm_trunk(block_args={"attn_layer": "se"}),
}


@pytest.mark.parametrize("make", TRUNKS.values(), ids=TRUNKS)
@torch.no_grad()
def test_with_one_part_a_trunk_answers_as_it_did(make, caplog):
    torch.manual_seed(0)
    network = with_statistics(make())
    model = convert_cross_x(network.state_dict(), {"num_parts": 1, "num_labels": 4})
    pictures = torch.randn(2, 3, 64, 96)
    expected = network(pictures)
    assert (model(pictures).logits - expected).abs().max() / expected.abs().max() < 1e-5
    assert "afresh" not in caplog.text


@pytest.mark.parametrize("make", TRUNKS.values(), ids=TRUNKS)
def test_every_tensor_of_a_trunk_is_taken_and_what_is_new_is_named(make, caplog):
    torch.manual_seed(0)
    trunk = with_statistics(make()).state_dict()
    model = convert_cross_x(trunk, {"num_labels": 7})
    assert model.config.num_parts == 2 and model.config.num_labels == 7
    assert "start afresh" in caplog.text and "bn3_1.bias" in caplog.text
    found = official_weights(model)
    for name, value in trunk.items():
        if not name.startswith("fc."):
            name = name.replace(".se.fc1.", ".se.fc.0.").replace(".se.fc2.", ".se.fc.2.")
            name = name if name in found else name.replace(".se.fc.", ".se.dresponse.")
            assert torch.equal(found[name], value.reshape(found[name].shape)), name


@torch.no_grad()
def test_a_resnet_keeps_its_ordinary_maps_under_parts():
    torch.manual_seed(0)
    trunk = with_statistics(torchvision_trunk())
    model = convert_cross_x(trunk.state_dict(), {})
    pictures, seen = torch.randn(1, 3, 64, 64), []
    trunk.layer4.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model.stages[3][0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    trunk(pictures)
    model(pictures)
    torch.testing.assert_close(seen[0], seen[1], atol=1e-5, rtol=1e-4)


def test_the_authors_trunk_excites_the_ordinary_map_and_on_request_every_part():
    weights = {name: value for name, value in weights_of(backbone_type="senet", num_parts=1).items()}
    trunk = {f"module.{name}": value for name, value in weights.items() if not name.startswith("fc_")}
    trunk["module.fc.weight"], trunk["module.fc.bias"] = torch.ones(1000, 128), torch.ones(1000)
    plain = official_weights(convert_cross_x({"weight": trunk}, {"num_labels": 5}))
    excited = official_weights(convert_cross_x({"weight": trunk}, {"num_labels": 5, "excite_parts": True}))
    for kind in ("0.weight", "0.bias", "2.weight", "2.bias"):
        expected = weights[f"layer4.1.se.fc.{kind}"]
        assert torch.equal(plain[f"layer4.1.se.dresponse.{kind}"], expected)
        assert not torch.equal(plain[f"layer4.1.se.parts.1.{kind}"], expected)
        assert torch.equal(excited[f"layer4.1.se.parts.1.{kind}"], expected)
        assert torch.equal(plain[f"layer4.0.se.fc.{kind}"], weights[f"layer4.0.se.fc.{kind}"])


def test_a_trunk_that_lacks_a_weight_or_has_another_is_refused():
    trunk = torchvision_trunk().state_dict()
    with pytest.raises(ValueError, match="has no place for: layer1.0.conv4.weight"):
        convert_cross_x(trunk | {"layer1.0.conv4.weight": torch.ones(1)}, {})
    with pytest.raises(ValueError, match="excite_parts is for the excitations of a SENet's trunk"):
        convert_cross_x(trunk, {"excite_parts": True})
    with pytest.raises(ValueError, match="lacks weights of the model: layer1.0.conv1.weight, which tells its sizes"):
        convert_cross_x({name: value for name, value in trunk.items() if name != "layer1.0.conv1.weight"}, {})
    del trunk["layer3.1.bn2.weight"]
    with pytest.raises(ValueError, match="the trunk lacks weights of the model: layer3.1.bn2.weight"):
        convert_cross_x(trunk, {})


def test_an_old_trunk_that_counts_no_batches_is_taken():
    trunk = {name: value for name, value in torchvision_trunk().state_dict().items() if "num_batches" not in name}
    assert convert_cross_x(trunk, {}).stem.norm.num_batches_tracked == 0
