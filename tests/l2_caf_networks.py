"""The small networks of the official reference values of L2-CAF, and where these lie."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from hf_vidmodels.modeling.layers.embedding_networks import RecurrentEmbeddingNetwork

CASES = Path(__file__).parent / "fixtures" / "l2_caf"


class Trunk(nn.Module):
    """Three convolutions; the feature maps come out of `stage2` and `stage3`."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.relu1 = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()
        self.conv2, self.bn2, self.stage2 = nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU()
        self.conv3, self.bn3, self.stage3 = nn.Conv2d(12, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU()

    def forward(self, pixel_values):
        for module in self.children():
            pixel_values = module(pixel_values)
        return pixel_values


class PooledNetwork(nn.Module):
    """Trunk, average pooling and a head."""

    def __init__(self, head, normalize=False):
        super().__init__()
        self.trunk, self.head, self.normalize = Trunk(), head, normalize

    def forward(self, pixel_values):
        output = self.head(self.trunk(pixel_values).mean((2, 3)))
        return nn.functional.normalize(output, dim=-1) if self.normalize else output


class PoolAndLinear(nn.Module):
    """The head of `filter_traces_7x7`, over a layer that gives the stored feature map."""

    def __init__(self, weight, bias):
        super().__init__()
        self.layer = nn.Identity()
        self.head = nn.Linear(weight.shape[1], len(weight))
        self.head.load_state_dict({"weight": weight, "bias": bias})

    def forward(self, feature_map):
        return self.head(self.layer(feature_map).mean((2, 3)))


def tensors(case, name="io"):
    return load_file(CASES / case / f"{name}.safetensors")


def tiny_network(kind):
    """Give the classifier, the embedding network or the recurrent network of `tiny_networks`."""
    weights = tensors("tiny_networks", "state_dict")

    def part(prefix):
        return {name[len(prefix) + 1 :]: tensor for name, tensor in weights.items() if name.startswith(f"{prefix}.")}

    if kind == "recurrent":
        network = RecurrentEmbeddingNetwork(Trunk(), 16, 9, 10)
        network.encoder.load_state_dict(part("trunk"))
        network.lstm.load_state_dict(part("lstm"))
        network.embedding.load_state_dict(part("video_embedding"))
        return network.eval()
    network = PooledNetwork(nn.Linear(16, 6 if kind == "classifier" else 10), normalize=kind == "embedding")
    network.trunk.load_state_dict(part("trunk"))
    network.head.load_state_dict(part(kind))
    return network.eval()


def head_network():
    weights = tensors("filter_traces_7x7", "state_dict")
    return PoolAndLinear(weights["head.weight"], weights["head.bias"]).eval()


def relative_error(found, expected):
    return float(((found - expected) / expected).abs().max())


def largest_difference(found, expected):
    return float((found - expected).abs().max())


class Trace:
    """Keeps the parameters after the first updates."""

    def __init__(self, length):
        self.length, self.steps = length, []

    def __call__(self, update, parameters):
        if update < self.length:
            self.steps.append(parameters.clone())

    def stacked(self):
        return torch.stack(self.steps)
