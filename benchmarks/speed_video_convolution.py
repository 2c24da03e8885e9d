"""Speed of convolutions over frames with channels innermost, ours against PyTorch's, in one run.

    python benchmarks/speed_video_convolution.py [--rounds N] [--threads N] [--output FILE]

For shapes of residual networks on video (clips of 8 or 32 frames of 224 x 224 pixels) the time of an answer, and of an
answer with its gradients, by `torch.nn.functional.conv3d` and by `hf_vidmodels.modeling.layers.video_convolution`, on
the same maps and kernels. Forms take turns, and the smallest of several times counts, in process time. The command
fails when a result differs by more than 1e-5 of the greatest, or a shape takes longer than with PyTorch's
convolution.
"""

import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from timed_forms import speed_parser, time_in_turn
from torch.nn import functional

from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.modeling.layers.video_convolution import convolve

# Channels that come in and go out, frames, side, kernel, stride.
SHAPES = {
    "res2, reduce": (256, 64, 8, 56, (1, 1, 1), (1, 1, 1)),
    "res2, expand": (64, 256, 8, 56, (1, 1, 1), (1, 1, 1)),
    "res4, reduce": (1024, 256, 8, 14, (1, 1, 1), (1, 1, 1)),
    "i3d res2, reduce": (256, 64, 8, 56, (3, 1, 1), (1, 1, 1)),
    "slow res4, reduce": (1024, 256, 8, 14, (3, 1, 1), (1, 1, 1)),
    "fast res2, reduce": (32, 8, 32, 56, (3, 1, 1), (1, 1, 1)),
    "fast res2, space": (8, 8, 32, 56, (1, 3, 3), (1, 1, 1)),
    "fast res4, space": (32, 32, 32, 14, (1, 3, 3), (1, 1, 1)),
    "lateral after res2": (32, 64, 32, 56, (7, 1, 1), (4, 1, 1)),
}
SAME_RESULTS = 1e-5
# What noise may make of equal times.
MOST_SHARE = 1.15


def main() -> None:
    arguments = speed_parser(__doc__, rounds=5).parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(f"{'convolution':22}{'answer, ms':>22}{'':>8}{'with gradients, ms':>22}")
    print(f"{'':22}{'PyTorch':>11}{'ours':>11}{'share':>8}{'PyTorch':>11}{'ours':>11}{'share':>8}  differs")
    results, missed = {}, []
    for name, shape in SHAPES.items():
        results[name] = of_shape = measure(shape, arguments.rounds)
        print(f"{name:22}" + "".join(row(*of_shape[kind]) for kind in ("answer", "training")), end="")
        print(f"  {of_shape['difference']:.1e}", flush=True)
        if of_shape["difference"] > SAME_RESULTS:
            missed.append(f"{name} differs by {of_shape['difference']:.1e}")
        missed += [f"{name} is slower" for kind in ("answer", "training") if is_slower(*of_shape[kind])]
    if arguments.output:
        write_json(arguments.output, {"torch": torch.__version__, "milliseconds": results})
    if missed:
        sys.exit(f"missed: {'; '.join(missed)}")


def measure(shape: tuple, rounds: int) -> dict[str, object]:
    """Time PyTorch's form and ours of one shape, in milliseconds, and compare what they give."""
    entering, leaving, frames, side, kernel, stride = shape
    maps = torch.randn(1, entering, frames, side, side).contiguous(memory_format=torch.channels_last_3d)
    weight = torch.randn(leaving, entering, *kernel).contiguous(memory_format=torch.channels_last_3d)
    padding = tuple(size // 2 for size in kernel)
    forms = {"PyTorch": functional.conv3d, "ours": convolve}
    calls = {form: partial(of_form, maps, weight, None, stride, padding) for form, of_form in forms.items()}
    with torch.inference_mode():
        expected, found = (call() for call in calls.values())
        times = {"answer": fastest(calls, rounds)}
    maps.requires_grad_()
    weight.requires_grad_()
    times["training"] = fastest({form: partial(with_gradients, call) for form, call in calls.items()}, rounds)
    return {**times, "difference": float((found - expected).abs().max() / expected.abs().max())}


def with_gradients(call: Callable[[], torch.Tensor]) -> None:
    """Convolve, and take gradients of maps and kernel."""
    convolved = call()
    convolved.backward(torch.ones_like(convolved))


def fastest(calls: dict[str, Callable[[], torch.Tensor | None]], rounds: int) -> list[float]:
    """Give the least milliseconds of PyTorch's form and of ours."""
    return [1000 * min(times) for times in time_in_turn(calls, rounds, time.process_time).values()]


def row(theirs: float, ours: float) -> str:
    return f"{theirs:11.2f}{ours:11.2f}{ours / theirs:8.2f}"


def is_slower(theirs: float, ours: float) -> bool:
    return ours > MOST_SHARE * theirs


if __name__ == "__main__":
    main()
