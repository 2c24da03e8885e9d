"""Cross-X beyond its parity: parts, heads, sizes, the evaluation path, several processes, and what is refused."""

import socket
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

from cross_x_cases import pairwise_c3s
from hf_vidmodels import CrossXConfig, CrossXForImageClassification
from hf_vidmodels.modeling.layers.part_blocks import PartMerge
from hf_vidmodels.modeling.ops.part_losses import c3s_loss, cross_layer_loss
from method_examples import cross_x_config, semiformer_batch

HEADS = ("ultimate", "penultimate", "merged")


def model_of(**fields):
    torch.manual_seed(0)
    return CrossXForImageClassification(cross_x_config(**fields))


def pictures(count=2, height=64, width=64):
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def moved_norms(model):
    """Give batch norms statistics and weights that are not those of the start."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                module.weight.normal_(1, 0.3)
                module.bias.normal_()
    return model


# -- heads and parts


@torch.no_grad()
def test_logits_are_the_sum_of_the_heads_that_are_used():
    output = model_of().eval()(pictures())
    torch.testing.assert_close(output.logits, sum(output[f"{head}_logits"] for head in HEADS))
    without = model_of(use_merged_head=False).eval()(pictures())
    torch.testing.assert_close(without.logits, without.ultimate_logits + without.penultimate_logits)
    assert without.merged_logits is None


def test_a_head_that_is_not_used_keeps_its_layers_and_is_not_trained():
    model = model_of(use_merged_head=False)
    frozen = {name.split(".")[0] for name, value in model.named_parameters() if not value.requires_grad}
    assert frozen == {"merges", "classifier"} and model.state_dict().keys() == model_of().state_dict().keys()
    model(**semiformer_batch()).loss.backward()
    lacking = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert not lacking and model.merges[0].spatial.weight.grad is None


@pytest.mark.parametrize("backbone_type", ["resnet", "senet"])
@pytest.mark.parametrize("num_parts", [1, 2, 3, 5])
def test_any_number_of_parts_is_trained_and_answers(backbone_type, num_parts):
    model = model_of(num_parts=num_parts, backbone_type=backbone_type)
    output = model(**semiformer_batch(), output_part_features=True, output_part_maps=True)
    output.loss.backward()
    assert output.ultimate_features.shape == (4, num_parts, 128)
    assert output.ultimate_maps.shape == (4, num_parts, 128, 2, 2)
    if num_parts == 1:
        assert output.loss == output.ce and output.c3s_ultimate is None and output.penultimate_logits is None
    else:
        assert output.merged_features.shape == output.penultimate_features.shape == (4, num_parts, 64)
        assert output.penultimate_maps.shape == (4, num_parts, 64, 4, 4)
    assert model.eval()(pictures()).logits.shape == (2, 5)


@torch.no_grad()
def test_part_features_and_maps_come_on_request_or_by_the_configuration():
    assert model_of().eval()(pictures()).ultimate_features is None
    output = model_of(output_part_features=True, output_part_maps=True).eval()(pictures())
    torch.testing.assert_close(output.ultimate_maps.mean((3, 4)), output.ultimate_features)
    torch.testing.assert_close(output.penultimate_maps.amax((3, 4)), output.penultimate_features)


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_the_evidence_of_all_parts_and_places_adds_up_to_the_logit_of_each_head(pooling):
    model, classes = model_of(penultimate_pooling=pooling).eval(), torch.tensor([3, 0])
    output = model(pictures(), output_part_maps=True)
    evidence = model.part_evidence(output, classes)
    assert {head: tuple(values.shape) for head, values in evidence.items()} == {
        "ultimate": (2, 2, 2, 2),
        "penultimate": (2, 2, 4, 4),
    }
    for head, values in evidence.items():
        logits = values.sum((1, 2, 3)) + model.classifier[head].bias[classes]
        torch.testing.assert_close(logits, output[f"{head}_logits"][torch.arange(2), classes])
    with pytest.raises(ValueError, match="call the model with output_part_maps=True"):
        model.part_evidence(model(pictures()), classes)


def test_the_excitations_of_all_parts_are_those_of_single_layers():
    model = model_of(backbone_type="senet", num_parts=3)
    unit, means = model.stages[2][-1].excitations, torch.randn(4, 64)
    found = unit(means)
    assert found.shape == (4, 4, 64)
    for number in range(4):
        weight, bias = (values.chunk(4)[number] for values in (unit.squeeze.weight, unit.squeeze.bias))
        hidden = torch.nn.functional.linear(means, weight, bias).relu()
        expected = torch.nn.functional.linear(hidden, unit.weight[number].T, unit.bias[number]).sigmoid()
        torch.testing.assert_close(found[:, number], expected)


# -- the evaluation path


@torch.no_grad()
@pytest.mark.parametrize("fine", [(1, 1), (1, 4), (2, 3), (4, 4), (5, 8), (7, 7), (9, 6)])
def test_means_over_windows_are_the_mean_of_the_merged_map(fine):
    torch.manual_seed(0)
    merge = moved_norms(PartMerge(12, 20, 1e-5)).double().eval()
    maps = torch.randn(3, 12, *fine).double(), torch.randn(3, 20, *(-(-side // 2) for side in fine)).double()
    torch.testing.assert_close(merge(*maps), merge.merged_map(*maps).mean((2, 3)))


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 64), (72, 64), (65, 97), (200, 120)])
def test_logits_do_not_depend_on_how_the_merged_mean_is_computed(size, monkeypatch):
    model = moved_norms(model_of()).eval()
    fast = model(pictures(2, *size)).logits
    monkeypatch.setattr(PartMerge, "merged_means", lambda self, *maps: self.merged_map(*maps).mean((2, 3)))
    plain = model(pictures(2, *size)).logits
    assert (fast - plain).abs().max() / plain.abs().max() < 1e-5


def test_evaluation_convolves_no_merged_map(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a merged map was made")

    monkeypatch.setattr(PartMerge, "merged_map", refuse)
    model = model_of().eval()
    model(**semiformer_batch()).loss.backward()
    assert model.merges[0].narrow.weight.grad.abs().sum() > 0
    with pytest.raises(AssertionError, match="merged map"):
        model.train()(pictures())


@torch.no_grad()
def test_the_last_ordinary_map_is_never_computed():
    ordinary, parts = model_of().stages[3][-1].forward_parts(torch.randn(1, 128, 2, 2), is_last=True)
    assert ordinary is None and [part.shape for part in parts] == [(1, 128, 2, 2)] * 2


# -- losses


def test_the_loss_is_the_weighted_sum_of_its_parts():
    model = model_of(gamma_ultimate=0.3, gamma_penultimate=0.2, gamma_merged=0.7, cross_layer_weight=0.4)
    output = model(**semiformer_batch())
    expected = output.ce + 0.3 * output.c3s_ultimate + 0.2 * output.c3s_penultimate + 0.7 * output.c3s_merged
    torch.testing.assert_close(output.loss, expected + 0.4 * output.cross_layer)


def test_c3s_is_a_mean_over_all_pairs_of_pictures():
    features = torch.randn(5, 3, 7)
    torch.testing.assert_close(c3s_loss(features), pairwise_c3s(list(features.unbind(1))))


def test_a_feature_of_zeros_gives_numbers():
    features = torch.zeros(3, 2, 4, requires_grad=True)
    loss = c3s_loss(features)
    loss.backward()
    assert loss == 2 and torch.isfinite(features.grad).all()


def test_a_batch_of_one_picture_is_trained():
    output = model_of()(pictures(1), labels=torch.tensor([2]))
    output.loss.backward()
    assert torch.isfinite(output.loss)


def test_regularisers_are_in_full_precision_under_autocast():
    features, logits = torch.randn(4, 2, 33).bfloat16(), torch.randn(3, 4, 6).bfloat16()
    expected = c3s_loss(features.float()), cross_layer_loss(logits[0].float(), [*logits[1:].float()])
    with torch.autocast("cpu", torch.bfloat16):
        found = c3s_loss(features), cross_layer_loss(logits[0], [*logits[1:]])
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other)


def learn_in_a_process(rank, port, folder):
    """Train one step on a part of the batch, as one of two processes; leaves loss and gradients in a file."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    model, batch = evaluated_norms(), semiformer_batch()
    wrapped = torch.nn.parallel.DistributedDataParallel(model)
    mine = slice(0, 2) if rank == 0 else slice(2, 4)
    output = wrapped(batch["pixel_values"][mine], labels=batch["labels"][mine])
    output.loss.backward()
    uneven = torch.arange(40.0).reshape(4, 2, 5).cos()[: 3 if rank == 0 else 1] + rank
    found = {
        "c3s": [output[f"c3s_{head}"].item() for head in HEADS],
        "uneven": c3s_loss(uneven, across_processes=True).item(),
        "gradients": {name: value.grad for name, value in model.named_parameters()},
    }
    torch.save(found, Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


def evaluated_norms():
    """A model in training mode whose norms keep their statistics, so that a picture's features are its own."""
    model = model_of().train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    return model


def test_two_processes_learn_as_one_with_both_batches(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(learn_in_a_process, (port, str(tmp_path)), nprocs=2)
    model = evaluated_norms()
    output = model(**semiformer_batch())
    output.loss.backward()
    expected = {name: value.grad for name, value in model.named_parameters()}
    uneven = torch.arange(40.0).reshape(4, 2, 5).cos()
    joint = c3s_loss(torch.cat([uneven[:3], uneven[:1] + 1])).item()
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found["c3s"] == pytest.approx([output[f"c3s_{head}"].item() for head in HEADS], abs=1e-6)
        assert found["uneven"] == pytest.approx(joint, abs=1e-6)
    # Cross entropy and divergences are means over the batch, which DistributedDataParallel averages.
    for name, gradient in found["gradients"].items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-4, msg=name)


# -- what is refused


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"backbone_type": "resnet50"}, "backbone_type must be one of 'resnet', 'senet', got 'resnet50'"),
        ({"penultimate_pooling": "mix"}, "penultimate_pooling must be one of 'max', 'avg', got 'mix'"),
        ({"num_parts": 0}, "num_parts must be at least 1, got 0"),
        ({"gamma_merged": -0.1}, "gamma_merged must not be negative, got -0.1"),
        ({"cross_layer_weight": -1}, "cross_layer_weight must not be negative, got -1"),
        (
            {"depths": [3, 4, 6, 1]},
            r"depths must be at least 2 in the last two stages with num_parts=2.*\[3, 4, 6, 1\]",
        ),
        ({"depths": [3, 4, 6]}, "depths must be four whole numbers"),
        (
            {"backbone_type": "senet", "se_reductions": [16, 32, 64, 256]},
            "excitation of width zero in stage 4: 256 for 128 channels",
        ),
        ({"num_channels": 4}, "num_channels must be 3"),
        ({"image_size": 24}, "image_size must be at least 32 pixels on each side, got 24"),
        ({"image_size": [64, 64, 3]}, "image_size must be one number or"),
        ({"crop_margin": 0.5}, "crop_margin must be from 1"),
        ({"problem_type": "multi_label_classification"}, "problem_type must not be"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        cross_x_config(**fields)


def test_one_block_in_each_stage_is_a_plain_trunk():
    assert model_of(num_parts=1, depths=[1, 1, 1, 1]).eval()(pictures()).logits.shape == (2, 5)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"pixel_values": pictures()[0]}, r"must be pictures \(B, 3, H, W\), got shape \(3, 64, 64\)"),
        ({"pixel_values": pictures()[:, :1]}, r"got shape \(2, 1, 64, 64\)"),
        ({"pixel_values": pictures(2, 64, 31)}, r"at least 32 pixels on each side, got \(64, 31\)"),
        ({"pixel_values": torch.zeros(2, 3, 64, 64, dtype=torch.uint8)}, "must be normalised floating-point"),
        ({"labels": torch.tensor([1, 5])}, r"labels must be class ids 0..4 for num_labels=5, got 5"),
        ({"labels": torch.tensor([-1, 0])}, r"labels must be class ids 0..4 for num_labels=5, got -1"),
        ({"labels": torch.tensor([1, 2, 3])}, r"labels must be class ids of shape \(2,\)"),
    ],
)
def test_pictures_and_labels_that_do_not_fit_are_named(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        model_of().eval()(**({"pixel_values": pictures()} | given))


def test_the_published_settings_are_presets():
    cub = CrossXConfig.from_preset("cross_x_resnet50_cub")
    assert (cub.picture_size, cub.resized_size, cub.num_labels) == ((448, 448), (600, 600), 200)
    dogs = CrossXConfig.from_preset("cross_x_resnet50_dogs")
    assert (dogs.resized_size, dogs.head_names) == ((448, 448), ("ultimate", "penultimate"))
    with torch.device("meta"):
        sizes = {
            name: CrossXForImageClassification(CrossXConfig.from_preset(f"cross_x_{name}_cub")).num_parameters()
            for name in ("resnet50", "senet50")
        }
    assert sizes == {"resnet50": 48_307_888, "senet50": 48_921_304}
