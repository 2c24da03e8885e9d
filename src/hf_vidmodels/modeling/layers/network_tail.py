"""The part of any network after one of its layers, run alone on changed feature maps.

A network is recorded once on real inputs: which modules finish before the layer does, and with what result. To run
the rest, these modules are replaced by their results and the layer by the changed map; the network's own code joins
the pieces, so that nothing has to be known about it. Where later parts do not look at earlier results (a chain), these
stay empty and cost nothing; skip connections over the layer get the recorded results.

Whether the rest is average pooling and one linear layer is found by what it does and not by what it is called
(`find_pooled_linear_head`).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .layer_maps import LayerMaps

# How closely a tail must repeat the recorded output to be trusted, relative to the largest output.
SAME_OUTPUT = 1e-4
# The same for a linear head, on a filtered map.
SAME_HEAD_OUTPUT = 1e-3


@dataclass
class _Call:
    """One finished call of a module before the layer."""

    module: nn.Module
    result: Any


class NetworkTail:
    """Records a network up to one layer and re-runs the rest.

    Args:
        network: any module; it must be in eval mode.
        layer_name: dotted name of the module whose output is the feature map.
        read_output: takes what the network returns and gives the tensor (B, K) that is explained.
        pixel_values: (B, ...) real inputs.
        fast: whether to try to run the part after the layer only.

    Attributes:
        layer_output: the layer's output tensor on `pixel_values`.
        output: (B, K) the network's own output.
        mode: `"tail"` (a chain after the layer), `"skip"` (earlier results are needed too) or `"whole"`.
        linear_layers: linear layers and 1 x 1 convolutions that run after the layer, candidates for a linear head.

    Raises:
        ValueError: when the layer does not run, runs more than once, or gives no tensor, or the output is not finite.
    """

    def __init__(
        self,
        network: nn.Module,
        layer_name: str,
        read_output: Callable[[Any], torch.Tensor],
        pixel_values: torch.Tensor,
        fast: bool = True,
    ) -> None:
        self.network, self.read_output, self.pixel_values = network, read_output, pixel_values
        self.layer = network.get_submodule(layer_name)
        recorder = _Recorder(network, self.layer)
        with torch.no_grad(), recorder:
            self.output = read_output(network(pixel_values))
        if not torch.isfinite(self.output).all():
            raise ValueError("the network's output has NaN or infinite values; check its weights and the pixel values")
        if recorder.num_layer_calls != 1:
            how = "does not run" if not recorder.num_layer_calls else f"runs {recorder.num_layer_calls} times"
            raise ValueError(f"filter_layer {layer_name!r} {how} in one forward pass; choose a layer that runs once")
        self._layer_result = recorder.layer_result
        self.layer_output = _first_tensor(recorder.layer_result)
        if self.layer_output is None:
            found = type(recorder.layer_result).__name__
            raise ValueError(f"filter_layer {layer_name!r} gives {found}, not a feature map; choose one inside it")
        self.linear_layers = recorder.linear_layers
        self._calls = recorder.calls
        self.mode = self._find_mode() if fast else "whole"
        if self.mode != "skip":
            self._calls = []
        self._indices: torch.Tensor | None = None
        self._inputs: torch.Tensor | None = None
        self._stubs: list[_Call] = []

    def select(self, indices: torch.Tensor) -> None:
        """Say to which input every row of the maps that come next belongs, as (P,) indices into the batch."""
        self._indices = indices
        rows = _Rows(indices, len(self.pixel_values))
        if self.mode == "tail":
            # Only the size of the batch is read of the input, so nothing is copied.
            self._inputs = self.pixel_values[:1].expand(len(indices), *self.pixel_values.shape[1:])
        else:
            self._inputs = self.pixel_values[indices]
        if self.mode == "skip":
            self._stubs = [_Call(call.module, _map_tensors(call.result, rows.of)) for call in self._calls]

    def run(self, layer_output: torch.Tensor) -> torch.Tensor:
        """Give the (P, K) output when the layer gives `layer_output`, P problems as said by `select`."""
        stubs = self._placeholders if self.mode == "tail" else self._stubs
        return self._run(self._inputs, stubs, layer_output)

    def _find_mode(self) -> str:
        self._placeholders = [_Call(call.module, _map_tensors(call.result, _placeholder)) for call in self._calls]
        for mode, stubs in (("tail", self._placeholders), ("skip", self._calls)):
            if self._repeats_output(stubs):
                return mode
        return "whole"

    @torch.no_grad()
    def _repeats_output(self, stubs: Sequence[_Call]) -> bool:
        """Tell whether the network still gives its output; placeholders are NaN and show wherever they are used."""
        try:
            again = self._run(self.pixel_values, stubs, self.layer_output)
        except (RuntimeError, ValueError, IndexError, TypeError):
            # The network's own code between the modules could not work with placeholders: it needs real results.
            return False
        tolerance = SAME_OUTPUT * float(self.output.abs().max())
        return again.shape == self.output.shape and torch.allclose(again, self.output, rtol=0.0, atol=tolerance)

    def _run(self, inputs: torch.Tensor, stubs: Sequence[_Call], layer_output: torch.Tensor) -> torch.Tensor:
        results: dict[nn.Module, list[Any]] = defaultdict(list)
        for call in stubs:
            results[call.module].append(call.result)
        results[self.layer].append(_with_first_tensor(self._layer_result, layer_output))
        with ExitStack() as stack:
            for module, queue in results.items():
                stack.enter_context(_answering(module, queue))
            return self.read_output(self.network(inputs))


class _Recorder:
    """Watches one forward pass: results of the outermost modules that finish before the layer does."""

    def __init__(self, network: nn.Module, layer: nn.Module) -> None:
        self.network, self.layer = network, layer
        self.calls: list[_Call] = []
        self.layer_result: Any = None
        self.num_layer_calls = 0
        self.linear_layers: list[nn.Module] = []
        self._starts: list[int] = []

    def __enter__(self) -> None:
        self._handles = []
        for module in self.network.modules():
            self._handles.append(module.register_forward_pre_hook(self._begin))
            self._handles.append(module.register_forward_hook(self._end))

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _begin(self, module: nn.Module, arguments: Any) -> None:
        self._starts.append(len(self.calls))

    def _end(self, module: nn.Module, arguments: Any, result: Any) -> None:
        start = self._starts.pop()
        if self.num_layer_calls:
            if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)):
                self.linear_layers.append(module)
            self.num_layer_calls += module is self.layer
            return
        # What ran inside a finished module is answered for by the module itself.
        del self.calls[start:]
        if module is self.layer:
            self.layer_result, self.num_layer_calls = result, 1
        else:
            self.calls.append(_Call(module, result))


class _Rows:
    """Copies rows of recorded results for the problems; batches may be folded with a further axis (frames)."""

    def __init__(self, indices: torch.Tensor, batch_size: int) -> None:
        self.indices, self.batch_size = indices, batch_size

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dim() == 0 or tensor.shape[0] % self.batch_size:
            return tensor
        folded = tensor.unflatten(0, (self.batch_size, tensor.shape[0] // self.batch_size))
        return folded[self.indices].flatten(0, 1)


@contextmanager
def _answering(module: nn.Module, queue: Sequence[Any]) -> Iterator[None]:
    """Let the first calls of a module return prepared results and later ones run."""
    answers, previous = iter(queue), module.__dict__.get("forward")
    original = module.forward

    def forward(*arguments: Any, **keywords: Any) -> Any:
        for answer in answers:
            return answer
        return original(*arguments, **keywords)

    module.forward = forward
    try:
        yield
    finally:
        if previous is None:
            del module.forward
        else:
            module.forward = previous


def _placeholder(tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    return torch.full((1,), torch.nan, dtype=tensor.dtype, device=tensor.device).expand(tensor.shape)


def _map_tensors(result: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Rebuild nested tuples, lists, dicts and model outputs with every tensor changed."""
    if torch.is_tensor(result):
        return change(result)
    if isinstance(result, dict):
        changed = {name: _map_tensors(part, change) for name, part in result.items()}
        return type(result)(**changed) if type(result) is not dict else changed
    if isinstance(result, tuple | list):
        return type(result)([_map_tensors(part, change) for part in result])
    return result


def _first_tensor(result: Any) -> torch.Tensor | None:
    if torch.is_tensor(result):
        return result
    parts = list(result.values()) if isinstance(result, dict) else result
    return parts[0] if isinstance(parts, tuple | list) and parts and torch.is_tensor(parts[0]) else None


def _with_first_tensor(result: Any, tensor: torch.Tensor) -> Any:
    """Put another tensor in the place that `_first_tensor` reads."""
    if torch.is_tensor(result):
        return tensor
    if isinstance(result, dict):
        first = next(iter(result))
        return type(result)(**{**result, first: tensor})
    return type(result)([tensor, *result[1:]])


@dataclass(frozen=True)
class PooledLinearHead:
    """Output = weight @ mean over cells of the map + bias.

    Attributes:
        weight: (K, C).
        bias: (K,).
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, feature_maps: torch.Tensor) -> torch.Tensor:
        """Give (B, K) outputs of (B, C, h, w) maps."""
        return nn.functional.linear(feature_maps.mean((-2, -1)), self.weight, self.bias)


def find_pooled_linear_head(tail: NetworkTail, maps: LayerMaps) -> PooledLinearHead | None:
    """Give the head when everything after the layer is average pooling and one linear layer, else None.

    A candidate has to repeat the network on the maps under a random filter with positive and negative cells, which no
    other pooling, norm or activation survives.

    Args:
        tail: the recorded network, with `select` called for the whole batch in order.
        maps: what the layer gives, of images.
    """
    cells = torch.randn(maps.size, generator=torch.Generator().manual_seed(0)).to(maps.tensor)
    filtered = maps.tensor * cells
    tail.select(torch.arange(len(filtered), device=filtered.device))
    with torch.no_grad():
        expected = tail.run(maps.filtered(cells.expand(len(filtered), 1, *maps.size)))
        for layer in tail.linear_layers:
            weight = layer.weight.flatten(1)
            if weight.shape != (expected.shape[-1], filtered.shape[1]):
                continue
            bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias
            head = PooledLinearHead(weight.detach(), bias.detach())
            tolerance = SAME_HEAD_OUTPUT * float(expected.abs().max())
            if torch.allclose(head(filtered), expected, rtol=0.0, atol=tolerance):
                return head
    return None
