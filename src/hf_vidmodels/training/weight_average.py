"""The exponential moving average of the weights in training, on top of torch's `AveragedModel`."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def start_average(module: nn.Module, decay: float) -> AveragedModel:
    """Return an average that begins at the module's weights and follows them with `decay` at each update.

    Buffers (running statistics, position tables) are copied, not averaged.
    """
    average = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(decay))
    average.requires_grad_(False)
    # AveragedModel replaces its weights at the first update; counting the start makes the first update an average.
    average.n_averaged.fill_(1)
    return average


@contextmanager
def averaged_weights(module: nn.Module, average: AveragedModel | None, keep: bool = False) -> Iterator[None]:
    """Let `module` have the averaged weights inside the block, and after it when `keep` is set.

    Without an average nothing changes.
    """
    exchange_weights(module, average)
    try:
        yield
    finally:
        if not keep:
            exchange_weights(module, average)


def exchange_weights(module: nn.Module, average: AveragedModel | None) -> None:
    """Give the module the average's weights and buffers, and the average the module's."""
    if average is None:
        return
    ours = chain(module.parameters(), module.buffers())
    theirs = chain(average.module.parameters(), average.module.buffers())
    for our, their in zip(ours, theirs, strict=True):
        our.data, their.data = their.data, our.data
