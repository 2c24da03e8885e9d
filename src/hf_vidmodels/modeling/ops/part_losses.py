"""Cross-X's regularisers: features of a part agree across pictures and differ from those of other parts (C3S), and the
heads of different layers agree (CL). Luo et al., ICCV 2019; terms of the official code (commit 0ed68c1).
"""

import warnings
from collections.abc import Sequence

import torch
from torch import distributed, nn

LEAST_NORM = 1e-12


def c3s_loss(features: torch.Tensor, *, across_processes: bool = False) -> torch.Tensor:
    """Compare the part features of all pairs of pictures in the batch, each picture with itself too.

    With S_pq the mean cosine between features of part p and of part q, it is the sum of 1 - S_pp over parts and of
    S_pq over pairs p < q. The mean over pairs of pictures is a product of means over pictures, so that pairs are
    never formed.

    Args:
        features: (B, P, C) pooled features.
        across_processes: the batch is that of all processes; then all must call at once.

    Returns:
        the loss, shape `()`, float32.
    """
    with _full_precision(features):
        directions = nn.functional.normalize(features.float(), dim=-1, eps=LEAST_NORM)
        means = _mean_over_batch(directions, across_processes)
        similarities = means @ means.T
        return (similarities.sum() - 3 * similarities.trace()) / 2 + len(means)


def cross_layer_loss(reference: torch.Tensor, others: Sequence[torch.Tensor]) -> torch.Tensor:
    """Sum the divergences KL(reference || other) of classes, mean over the batch. The reference learns too.

    Args:
        reference: (B, C) logits of the ultimate head.
        others: (B, C) logits of the other heads.

    Returns:
        the loss, shape `()`, float32.
    """
    with _full_precision(reference):
        expected = reference.float().log_softmax(-1)
        divergences = [
            nn.functional.kl_div(other.float().log_softmax(-1), expected, reduction="batchmean", log_target=True)
            for other in others
        ]
        return torch.stack(divergences).sum()


def _full_precision(values: torch.Tensor) -> torch.autocast:
    return torch.autocast(values.device.type, enabled=False)


def _mean_over_batch(directions: torch.Tensor, across_processes: bool) -> torch.Tensor:
    """Mean over the first axis, of all processes together where they are several: (B, P, C) to (P, C)."""
    if not (across_processes and distributed.is_available() and distributed.is_initialized()):
        return directions.mean(0)
    total, count = directions.sum(0), directions.new_tensor([len(directions)])
    # Its gradient is summed over the processes, which DistributedDataParallel's mean over them undoes.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.distributed.nn.functional import all_reduce

        summed = all_reduce(torch.cat([total.flatten(), count]))
    return summed[:-1].view_as(total) / summed[-1]
