"""The moving average of Semiformer's official code, which is saved beside the weights: unlike `ema_decay` it averages
running statistics too, and neither labels pictures nor is what the run evaluates.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn


class PublishedAverage:
    """The average of all floating-point weights and buffers; counters keep their first value, as in the official code.

    Args:
        module: whose values it starts at.
        decay: of each update.

    Attributes:
        tensors: the average, by names of the module's state dict.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Follow the module after an optimiser step."""
        ours, theirs = [], []
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                ours.append(self.tensors[name])
                theirs.append(value)
        torch._foreach_lerp_(ours, theirs, 1 - self.decay)

    @torch.no_grad()
    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take saved values back."""
        for name, value in tensors.items():
            self.tensors[name].copy_(value)

    @contextmanager
    def used_by(self, module: nn.Module) -> Iterator[None]:
        """Let the module have the average's values inside the block."""
        own = {name: value.detach().clone() for name, value in module.state_dict().items()}
        module.load_state_dict(self.tensors)
        try:
            yield
        finally:
            module.load_state_dict(own)
