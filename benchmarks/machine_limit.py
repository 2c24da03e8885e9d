"""How near a computation comes to what the machine can do: its arithmetic against the best matrix product."""

import time
from collections.abc import Callable

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
    # Torch's counter has no formula for the fused attention of CPUs.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        call()
    return counter.get_total_flops()
