"""Classifiers of timm, torchvision and transformers under L2-CAF: wrapped as they are, or refused with a way out.

`benchmarks/families_l2_caf.py` tries more than a hundred families in their own sizes; here are small ones.
"""

import ast
import re

import pytest
import torch
import torchvision
from torch import nn
from transformers import (
    Dinov2Config,
    Dinov2ForImageClassification,
    PvtConfig,
    PvtForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from hf_vidmodels import L2CafForObjectLocalization
from hf_vidmodels.modeling.layers.layer_maps import MapGrid, find_map_grid

SIZE = 64
TOKENS = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}


def torchvision_network(name):
    return torchvision.models.get_model(name, num_classes=5)


def timm_network(name, **options):
    timm = pytest.importorskip("timm")
    return timm.create_model(name, num_classes=5, **options)


def swin():
    return SwinForImageClassification(
        SwinConfig(image_size=SIZE, embed_dim=8, depths=[1, 1, 1], num_heads=[1, 2, 2], window_size=4, num_labels=5)
    )


def pvt():
    sizes = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2]}
    return PvtForImageClassification(PvtConfig(image_size=SIZE, num_labels=5, **sizes))


def timm_swin():
    sizes = {"embed_dim": 8, "depths": (1, 1, 1), "num_heads": (1, 2, 2), "window_size": 4}
    return timm_network("swin_tiny_patch4_window7_224", img_size=SIZE, **sizes)


# Rows of the map and the layer of those that are wrapped as they are.
WRAPPED = {
    "resnet": (lambda: torchvision_network("resnet18"), 2, "layer4"),
    "shufflenet": (lambda: torchvision_network("shufflenet_v2_x0_5"), 2, "conv5"),
    "squeezenet": (lambda: torchvision_network("squeezenet1_1"), 3, "classifier.2"),
    "mobilenet": (lambda: torchvision_network("mobilenet_v3_small"), 2, "features"),
    "timm's lcnet": (lambda: timm_network("lcnet_050"), 2, "blocks"),
    "timm's mobilevit": (lambda: timm_network("mobilevit_xxs"), 2, "final_conv"),
    "timm's swin, channels last": (timm_swin, 4, "norm"),
}
# Rows of the map and the layer that the refusal names.
REFUSED = {
    "timm's vit": (lambda: timm_network("vit_tiny_patch16_224", img_size=SIZE, depth=3), 4, "blocks.1"),
    "timm's mixer": (lambda: timm_network("mixer_s32_224", img_size=SIZE), 2, "norm"),
    "timm's crossvit": (lambda: timm_network("crossvit_9_240"), None, None),
    "swin": (swin, 4, "swin.layernorm"),
    "vit": (lambda: ViTForImageClassification(ViTConfig(image_size=SIZE, num_labels=5, **TOKENS)), 4, "vit.layers.1"),
    "dino": (
        lambda: Dinov2ForImageClassification(
            Dinov2Config(image_size=SIZE, patch_size=16, num_labels=5, mlp_ratio=2, **TOKENS)
        ),
        4,
        "dinov2.layernorm",
    ),
    "pvt": (pvt, None, None),
}


def prepared(make):
    torch.manual_seed(0)
    network = make().eval()
    # A head that begins at zero would see nothing anywhere.
    for parameter in network.parameters():
        if parameter.dim() > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    size = 240 if "CrossVit" in type(network).__name__ else SIZE
    return network, torch.randn(2, 3, size, size)


@pytest.mark.parametrize("name", WRAPPED)
def test_networks_that_end_in_a_map_are_wrapped_as_they_are(name):
    make, rows, layer = WRAPPED[name]
    network, pictures = prepared(make)
    model = L2CafForObjectLocalization.from_network(network, max_iterations=3)
    assert model.filter_layer(pictures) == layer
    assert model.explain(pictures).attention.shape == (2, 1, rows, rows)


@pytest.mark.parametrize("name", REFUSED)
def test_networks_that_end_otherwise_are_refused_with_a_layer_and_a_grid_that_work(name):
    make, rows, layer = REFUSED[name]
    network, pictures = prepared(make)
    with pytest.raises(ValueError, match="target_layer='") as refusal:
        L2CafForObjectLocalization.from_network(network).explain(pictures)
    named = re.search(r"target_layer='([^']*)'(?:, token_grid=(\([^)]*\)))?", str(refusal.value))
    settings = {"token_grid": ast.literal_eval(named[2])} if named[2] else {}
    found = L2CafForObjectLocalization.from_network(network, named[1], max_iterations=3, **settings).explain(pictures)
    assert layer in (None, named[1])
    assert found.attention.shape[-2] == found.attention.shape[-1] == (rows or found.attention.shape[-1])
    # Another filter gives another loss: the layer has a say in the output.
    assert len(set(found.losses[0, 0].tolist())) > 1 or found.solver == "exact"


class Pooled(nn.Module):
    """Convolutions, a norm over channels, average pooling and a linear layer, with channels first or last."""

    def __init__(self, channels_last):
        super().__init__()
        self.channels_last = channels_last
        self.convolution, self.layer, self.head = nn.Conv2d(3, 12, 16, 16), nn.Identity(), nn.Linear(12, 5)

    def forward(self, pixel_values):
        maps = self.convolution(pixel_values)
        maps = self.layer(maps.permute(0, 2, 3, 1) if self.channels_last else maps)
        return self.head(maps.mean((1, 2) if self.channels_last else (2, 3)))


def test_a_map_with_its_channels_last_is_explained_as_one_with_them_first():
    torch.manual_seed(0)
    first, last = Pooled(False), Pooled(True)
    last.load_state_dict(first.state_dict())
    pictures = torch.randn(2, 3, 64, 96)
    for solver in ("exact", "adam"):
        found = [
            L2CafForObjectLocalization.from_network(network, max_iterations=60).explain(pictures, solver=solver)
            for network in (first, last)
        ]
        assert found[0].attention.shape == (2, 1, 4, 6)
        torch.testing.assert_close(found[0].attention, found[1].attention)


def test_the_part_after_a_class_token_alone_is_read_explains_nothing():
    network, pictures = prepared(REFUSED["vit"][0])
    with pytest.raises(ValueError, match="does not depend on the tokens that filter_layer 'vit.layers.2' gives"):
        L2CafForObjectLocalization.from_network(network, "vit.layers.2").explain(pictures)


def test_a_label_that_is_passed_over_is_refused_and_no_loss_of_nan():
    network, pictures = prepared(WRAPPED["shufflenet"][0])
    with pytest.raises(ValueError, match=r"labels must be class ids 0\.\.4 .* got -100"):
        L2CafForObjectLocalization.from_network(network, num_labels=5)(pictures, labels=torch.tensor([-100, -100]))


@pytest.mark.parametrize(
    ("shape", "image_size", "grid"),
    [
        ((2, 768, 7, 7), (224, 224), MapGrid(7, 7)),
        ((2, 7, 7, 768), (224, 224), MapGrid(7, 7, channels_last=True)),
        ((2, 7, 10, 768), (224, 320), MapGrid(7, 10, channels_last=True)),
        ((2, 512, 10, 10), (299, 299), MapGrid(10, 10)),
        ((2, 64, 8, 7), (240, 224), MapGrid(8, 7)),
        ((2, 768, 1, 1), (224, 224), None),
        ((2, 1, 1, 768), (224, 224), None),
        ((2, 197, 768), (224, 224), MapGrid(14, 14, 1)),
        ((2, 201, 384), (224, 224), MapGrid(14, 14, 5)),
        ((2, 49, 768), (224, 224), MapGrid(7, 7, 0)),
        ((2, 281, 768), (224, 320), MapGrid(14, 20, 1)),
        ((2, 768, 1), (224, 224), None),
        ((2, 768, 49), (224, 224), None),
        ((2, 1000), (224, 224), None),
    ],
)
def test_the_shape_of_the_picture_tells_how_an_output_lies_on_it(shape, image_size, grid):
    assert find_map_grid(shape, image_size) == grid


def test_a_configuration_that_only_counts_its_classes_is_saved_and_loaded(tmp_path):
    network, pictures = prepared(REFUSED["pvt"][0])
    model = L2CafForObjectLocalization.from_network(network, "pvt.encoder")
    assert model.config.num_labels == 5
    model.save_pretrained(tmp_path)
    loaded = L2CafForObjectLocalization.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(loaded(pictures).logits, network(pictures).logits)
