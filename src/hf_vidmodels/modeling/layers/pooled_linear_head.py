"""Finding average pooling + linear heads behind a layer, by what the network does and not by what it is called."""

from dataclasses import dataclass

import torch
from torch import nn

from .network_tail import NetworkTail

# How closely such a head must repeat the network on a filtered map, relative to the largest output.
SAME_OUTPUT = 1e-3


@dataclass(frozen=True)
class PooledLinearHead:
    """Output = weight @ mean over cells of the map + bias.

    Attributes:
        weight: (K, C).
        bias: (K,).
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, feature_maps: torch.Tensor) -> torch.Tensor:
        """Give (B, K) outputs of (B, C, h, w) maps."""
        return nn.functional.linear(feature_maps.mean((-2, -1)), self.weight, self.bias)


def find_pooled_linear_head(tail: NetworkTail, feature_maps: torch.Tensor) -> PooledLinearHead | None:
    """Give the head when everything after the layer is average pooling and one linear layer, else None.

    A candidate has to repeat the network on the maps under a random filter with positive and negative cells, which no
    other pooling, norm or activation survives.

    Args:
        tail: the recorded network, with `select` called for the whole batch in order.
        feature_maps: (B, C, h, w), what the layer gives, in the same form.
    """
    if tail.layer_output.shape != feature_maps.shape:
        return None
    generator = torch.Generator().manual_seed(0)
    cells = torch.randn(feature_maps.shape[-2:], generator=generator).to(feature_maps)
    filtered = feature_maps * cells
    tail.select(torch.arange(len(feature_maps), device=feature_maps.device))
    with torch.no_grad():
        expected = tail.run(filtered)
        for layer in tail.linear_layers:
            weight = layer.weight.flatten(1)
            if weight.shape != (expected.shape[-1], feature_maps.shape[1]):
                continue
            bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias
            head = PooledLinearHead(weight.detach(), bias.detach())
            tolerance = SAME_OUTPUT * float(expected.abs().max())
            if torch.allclose(head(filtered), expected, rtol=0.0, atol=tolerance):
                return head
    return None
