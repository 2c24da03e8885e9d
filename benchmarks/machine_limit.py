"""How near a computation comes to what the machine can do: its arithmetic against the best matrix product."""

import time
from collections.abc import Callable
from math import prod
from typing import Any

import torch
from timed_forms import Call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

SIDES = (1024, 2048)


def best_product(clock: Callable[[], float] = time.process_time, repeats: int = 5) -> float:
    """Give the operations per second of the fastest float32 matrix product found, on the threads in use."""
    fastest = 0.0
    for side in SIDES:
        one, other = torch.randn(side, side), torch.randn(side, side)
        for _ in range(repeats):
            start = clock()
            one @ other
            fastest = max(fastest, 2 * side**3 / (clock() - start))
    return fastest


def operations(call: Call) -> int:
    """Count the floating-point operations of matrix products, convolutions and attention in one call."""
    formulae = {torch.ops.aten.convolution_backward: gradient_operations}
    # Torch's counter has no formula for the fused attention of CPUs.
    with FlopCounterMode(display=False, custom_mapping=formulae) as counter, sdpa_kernel(SDPBackend.MATH):
        call()
    return counter.get_total_flops()


def gradient_operations(upstream: torch.Size, _maps: torch.Size, weight: torch.Size, *rest: Any, **_: Any) -> int:
    """Count those of a convolution's gradients; torch's own formula takes no account of groups.

    Args:
        upstream: shape (B, C', ...) of the gradient of the result.
        weight: shape (C', C / groups, ...).
        rest: its other arguments, of which the last says what gradients are wanted: of maps, weight and bias.
    """
    of_maps, of_weight, _ = rest[-1]
    return 2 * upstream[0] * prod(upstream[2:]) * prod(weight) * (of_maps + of_weight)
