"""Losses between the features of two views of the same pictures: options of Semiformer's official code that its
scripts leave off.
"""

import torch
from torch import nn


def consistency_loss(
    weak: torch.Tensor,
    strong: torch.Tensor,
    *,
    kind: str,
    anchor: str,
    distance: str = "cosine",
    margin: float = 0.5,
    temperature: float = 1.0,
) -> torch.Tensor:
    """Pull the views of a picture together and push those of others away.

    Args:
        weak: (B, D) features of weakly augmented pictures.
        strong: (B, D) features of the same pictures, strongly augmented.
        kind: `"triplet"` or `"infonce"`.
        anchor: view that the other is compared with: `"weak"`, `"strong"`, or `"both"`, the sum.
        distance: of triplets: `"cosine"` or `"l2"`.
        margin: of triplets.
        temperature: of InfoNCE.

    Returns:
        the loss, shape `()`, float32.
    """
    weak, strong = weak.float(), strong.float()
    pairs = {"weak": ((weak, strong),), "strong": ((strong, weak),)}
    pairs["both"] = pairs["weak"] + pairs["strong"]
    losses = [
        _infonce(first, second, temperature) if kind == "infonce" else _triplet(first, second, distance, margin)
        for first, second in pairs[anchor]
    ]
    return torch.stack(losses).sum()


def _triplet(anchor: torch.Tensor, other: torch.Tensor, distance: str, margin: float) -> torch.Tensor:
    # cdist's gradient at distance 0 is 0, where that of a bare square root is no number.
    closeness = _cosines(anchor, other) if distance == "cosine" else -torch.cdist(anchor, other)
    costs = (margin + closeness - closeness.diagonal()[:, None]).clamp(min=0)
    return costs.masked_fill(torch.eye(len(costs), dtype=torch.bool, device=costs.device), 0.0).mean()


def _infonce(anchor: torch.Tensor, other: torch.Tensor, temperature: float) -> torch.Tensor:
    own = torch.arange(len(anchor), device=anchor.device)
    return nn.functional.cross_entropy(_cosines(anchor, other) / temperature, own)


def _cosines(anchor: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return nn.functional.normalize(anchor, dim=1) @ nn.functional.normalize(other, dim=1).T
