"""Depthwise convolutions over space and time whose gradients are fast on CPUs.

A depthwise convolution is a sum over the taps of its kernel of slices of the maps times one number per channel, and so
are both gradients. PyTorch's own gradients take many times what its forward pass takes; these are written with its
forward convolution, with its gradients for pictures, and with products of slices, channels innermost. They can be
differentiated again.
"""

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch.nn.functional import conv3d
from torch.nn.grad import conv2d_weight

Triple = tuple[int, int, int]

# Numbers in a product of slices: more do not fit the cache of a core.
MOST_PRODUCTS = 2**18
# Up to this many positions for one of the upstream gradient, convolutions are faster than the taps one by one: filling
# in zeros for the gradient of the maps, and pictures for that of the weight.
DENSEST_STRIDE = 4
# In float64 PyTorch has slow kernels for pictures too.
FAST_FOR_PICTURES = (torch.float32,)


def depthwise_conv3d(maps: torch.Tensor, weight: torch.Tensor, stride: Triple, padding: Triple) -> torch.Tensor:
    """Convolve every channel with a kernel of its own, as `conv3d` with as many groups as channels.

    On CPUs, in float32 and float64, the gradients are those of this module; elsewhere, under autocast and in compiled
    code PyTorch's.

    Args:
        maps: (B, C, T, H, W), fastest with channels innermost (`torch.channels_last_3d`).
        weight: (C, 1, kT, kH, kW).
        stride: over time, height and width.
        padding: zeros on each side.

    Returns:
        (B, C, T', H', W').
    """
    has_own_gradients = (
        maps.device.type == "cpu"
        and maps.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )
    if has_own_gradients:
        return DepthwiseConv3d.apply(maps, weight, tuple(stride), tuple(padding))
    return conv3d(maps, weight, stride=stride, padding=padding, groups=maps.shape[1])


class DepthwiseConv3d(torch.autograd.Function):
    """`conv3d` over single channels with both gradients written out."""

    @staticmethod
    def forward(maps: torch.Tensor, weight: torch.Tensor, stride: Triple, padding: Triple) -> torch.Tensor:
        """Convolve (B, C, T, H, W) with (C, 1, kT, kH, kW)."""
        return conv3d(maps, weight, stride=stride, padding=padding, groups=maps.shape[1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        """Keep maps and weight."""
        maps, weight, ctx.stride, ctx.padding = inputs
        ctx.save_for_backward(maps, weight)

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Give the gradients of maps and weight from that of the result."""
        maps, weight = ctx.saved_tensors
        upstream = upstream.contiguous(memory_format=torch.channels_last_3d)
        of_maps = of_weight = None
        is_dense = math.prod(ctx.stride) <= DENSEST_STRIDE
        if ctx.needs_input_grad[0]:
            of_maps = (convolved_gradient if is_dense else scattered_gradient)(
                upstream, weight, maps.shape, ctx.stride, ctx.padding
            )
        if ctx.needs_input_grad[1]:
            is_fast = is_dense and maps.dtype in FAST_FOR_PICTURES
            of_weight = (weight_gradient_of_pictures if is_fast else weight_gradient)(
                upstream, maps, weight.shape, ctx.stride, ctx.padding
            )
        return of_maps, of_weight, None, None


def convolved_gradient(
    upstream: torch.Tensor, weight: torch.Tensor, shape: torch.Size, stride: Triple, padding: Triple
) -> torch.Tensor:
    """Give the gradient of maps of a shape: the upstream gradient, zeros between, convolved with the turned kernel."""
    kernel = weight.shape[2:]
    if max(stride) > 1:
        # As many results as with steps of one; those between and behind the real ones are zero.
        sides = [side + 2 * margin - size + 1 for side, margin, size in zip(shape[2:], padding, kernel, strict=True)]
        zeros = upstream.new_zeros(shape[0], *sides, shape[1]).permute(0, 4, 1, 2, 3)
        places = (slice(0, (n - 1) * step + 1, step) for n, step in zip(upstream.shape[2:], stride, strict=True))
        zeros[(slice(None), slice(None), *places)] = upstream
        upstream = zeros
    margins = [size - 1 - margin for size, margin in zip(kernel, padding, strict=True)]
    return conv3d(upstream, weight.flip((2, 3, 4)), padding=margins, groups=shape[1])


def scattered_gradient(
    upstream: torch.Tensor, weight: torch.Tensor, shape: torch.Size, stride: Triple, padding: Triple
) -> torch.Tensor:
    """Give the gradient of maps of a shape: what each tap of the kernel sends to where it looked."""
    upstream = upstream.permute(0, 2, 3, 4, 1)
    gradient = upstream.new_zeros(shape[0], *shape[2:], shape[1])
    taps = weight[:, 0].permute(1, 2, 3, 0).contiguous()
    sides = gradient.shape[1:4], upstream.shape[1:4]
    for tap, results, sources in slices_of_taps(taps.shape[:3], *sides, stride, padding):
        gradient[sources].addcmul_(upstream[results], taps[tap])
    return gradient.permute(0, 4, 1, 2, 3)


def weight_gradient_of_pictures(
    upstream: torch.Tensor, maps: torch.Tensor, shape: torch.Size, stride: Triple, padding: Triple
) -> torch.Tensor:
    """Give the gradient of a weight of a shape: for each of its frames that of a convolution of pictures, the frames
    that it saw.
    """
    upstream, maps = upstream.transpose(1, 2), maps.transpose(1, 2)
    gradient = upstream.new_zeros(shape[2], shape[0], 1, *shape[3:])
    sides = ((frames.shape[1], 1, 1) for frames in (maps, upstream))
    for tap, results, sources in slices_of_taps((shape[2], 1, 1), *sides, (stride[0], 1, 1), (padding[0], 0, 0)):
        pictures, of_results = (
            frames[:, chosen[1]].flatten(0, 1).contiguous(memory_format=torch.channels_last)
            for frames, chosen in ((maps, sources), (upstream, results))
        )
        gradient[tap[0]] = conv2d_weight(
            pictures, gradient.shape[1:], of_results, stride[1:], padding[1:], groups=shape[0]
        )
    return gradient.movedim(0, 2)


def weight_gradient(
    upstream: torch.Tensor, maps: torch.Tensor, shape: torch.Size, stride: Triple, padding: Triple
) -> torch.Tensor:
    """Give the gradient of a weight of a shape: for each tap, the upstream gradient times what the tap saw."""
    maps = maps.contiguous(memory_format=torch.channels_last_3d).permute(0, 2, 3, 4, 1)
    upstream = upstream.permute(0, 2, 3, 4, 1)
    gradient = upstream.new_zeros(*shape[2:], shape[0])
    frames = max(MOST_PRODUCTS // math.prod(upstream.shape[2:]), 1)
    for tap, results, sources in slices_of_taps(shape[2:], maps.shape[1:4], upstream.shape[1:4], stride, padding):
        for one, other in zip(upstream[results], maps[sources], strict=True):
            for part, seen in zip(one.split(frames), other.split(frames), strict=True):
                gradient[tap] += (part * seen).sum((0, 1, 2))
    return gradient.permute(3, 0, 1, 2)[:, None]


def slices_of_taps(
    kernel: Triple, sides: Triple, result_sides: Triple, stride: Triple, padding: Triple
) -> Iterator[tuple[Triple, tuple[slice, ...], tuple[slice, ...]]]:
    """Yield, for each tap of a kernel, its place, the results that it takes part in, and the inputs that it sees.

    Slices are of tensors (B, T, H, W, C). Results that see padding through the tap are left out.
    """
    for tap in product(*(range(size) for size in kernel)):
        results, sources = [slice(None)], [slice(None)]
        for place, side, result_side, step, margin in zip(tap, sides, result_sides, stride, padding, strict=True):
            first = max(-((place - margin) // step), 0)
            last = min((side - 1 + margin - place) // step, result_side - 1)
            results.append(slice(first, last + 1))
            sources.append(slice(first * step + place - margin, last * step + place - margin + 1, step))
        if all(part.start < part.stop for part in results[1:]):
            yield tap, tuple(results), tuple(sources)
