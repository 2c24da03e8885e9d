"""Which layer of a network is its last feature map, found by what the network does and not by what it is called.

It is the last layer that everything the output knows of the picture has to pass (skip connections lead around most
layers inside a block) and whose every part can change the output (after the last block of a ViT only the class token
can). Both are read off the graph that autograd records in one forward pass.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .layer_maps import MapGrid, find_map_grid


@dataclass(frozen=True)
class SeenMap:
    """A layer whose output can be a feature map or a sequence of tokens.

    Attributes:
        name: dotted name of the module.
        output: what it gave.
        node: where autograd had recorded it then; later operations may work in place.
        grid: how the output lies on the picture.
    """

    name: str
    output: torch.Tensor
    node: Any
    grid: MapGrid


@dataclass(frozen=True)
class SeenMaps:
    """The layers of a network that can be filtered.

    Attributes:
        layers: in the order they finish, without those that run several times.
        last: the last of them that everything passes and that can change the output; where several branches see the
            picture, the last that can change it; `None` without any.
        is_passed_by_all: whether `last` is the former.
    """

    layers: list[SeenMap]
    last: SeenMap | None
    is_passed_by_all: bool


def seen_maps(network: nn.Module, read_output: Callable[[Any], torch.Tensor], pixel_values: torch.Tensor) -> SeenMaps:
    """List the layers that give feature maps or tokens, and find the last that everything passes.

    Args:
        network: any module, in eval mode.
        read_output: takes what it returns and gives a tensor (B, K).
        pixel_values: inputs (B, 3, H, W), or (B, T, 3, H, W); only the first is looked at.
    """
    seen: dict[str, SeenMap] = {}
    called: set[str] = set()

    def watch(name: str) -> Callable[..., None]:
        def note(module: nn.Module, arguments: Any, result: Any) -> None:
            if name in called:
                seen.pop(name, None)
            elif torch.is_tensor(result) and len(result) == num_maps:
                grid = find_map_grid(tuple(result.shape), tuple(pixel_values.shape[-2:]))
                if grid is not None:
                    seen[name] = SeenMap(name, result, result.grad_fn, grid)
            called.add(name)

        return note

    num_maps = pixel_values.shape[1] if pixel_values.dim() == 5 else 1
    handles = [module.register_forward_hook(watch(name)) for name, module in network.named_modules() if name]
    try:
        with torch.enable_grad():
            picture = pixel_values[:1].detach().clone().requires_grad_()
            start = picture.clone()
            start_node = start.grad_fn
            output = read_output(network(start))
            return SeenMaps(list(seen.values()), *_last_map(list(seen.values()), output, start_node))
    finally:
        for handle in handles:
            handle.remove()


def _last_map(seen: list[SeenMap], output: torch.Tensor, start: Any) -> tuple[SeenMap | None, bool]:
    if output.grad_fn is None or start is None:
        # Nothing was recorded, as under inference mode or in a network that detaches: then the last map has to do.
        return next((one for one in reversed(seen) if not one.grid.is_tokens), None), True
    passed = _nodes_on_every_path(output.grad_fn, start)
    # Sums of probabilities, or of what a layer norm gives, never change: the outputs are weighted at random.
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(0)).to(output)
    goal = (output * weights).sum()
    branch = None
    for one in reversed(seen):
        if one.node is None or (branch is not None and one.node not in passed):
            continue
        (change,) = torch.autograd.grad(goal, one.output, retain_graph=True, allow_unused=True)
        if change is not None and bool(one.grid.cells(change).any()):
            if one.node in passed:
                return one, True
            branch = one
    return branch, False


def _nodes_on_every_path(end: Any, start: Any) -> set[Any]:
    """Give the nodes of autograd's graph that all paths from `end` back to `start` go through."""
    order, opened, stack = [], {end}, [(end, iter(end.next_functions))]
    while stack:
        node, following = stack[-1]
        for child, _ in following:
            if child is not None and child not in opened:
                opened.add(child)
                stack.append((child, iter(child.next_functions)))
                break
        else:
            order.append(node)
            stack.pop()
    # `order` has every node behind those that it leads to.
    to_start = dict.fromkeys(order, 0) | {start: 1}
    from_end = dict.fromkeys(order, 0) | {end: 1}
    for node in order:
        to_start[node] += sum(to_start[child] for child, _ in node.next_functions if child is not None)
    for node in reversed(order):
        for child, _ in node.next_functions:
            if child is not None:
                from_end[child] += from_end[node]
    return {node for node in order if from_end[node] * to_start[node] == to_start[end] > 0}
