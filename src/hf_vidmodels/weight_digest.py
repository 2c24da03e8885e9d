"""A fingerprint of a network's weights, for folders and files that must not mix results of two networks."""

import hashlib

import torch
from torch import nn


def digest_of_weights(network: nn.Module) -> str:
    """Give the SHA-256 of all weights and buffers: equal for networks that give equal answers."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
