"""The problems that the filter solvers of L2-CAF optimise: on a reduced linear head, or through the network's tail."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..ops.attention_filters import constrain
from ..ops.exact_filters import QuadraticObjective
from .layer_maps import LayerMaps
from .network_tail import NetworkTail


@dataclass(frozen=True)
class ReducedProblems:
    """Problems behind a pooling + linear head: the network is reduced to a quadratic form once."""

    objective: QuadraticObjective
    filter_type: str
    eps: float

    def loss(self, parameters: torch.Tensor) -> torch.Tensor:
        """Give (P,) float64 losses of (P, 1, h, w) parameters."""
        filters = constrain(parameters, self.filter_type, self.eps)
        return self.objective.value(filters.flatten(1).double())

    def restrict(self, problems: torch.Tensor) -> "ReducedProblems":
        """Keep the problems with these indices."""
        return ReducedProblems(self.objective.restrict(problems), self.filter_type, self.eps)


@dataclass
class TailProblems:
    """Problems behind any network: the part after the layer runs in every update.

    Attributes:
        tail: the recorded network.
        maps: the layer's maps of the whole batch.
        images: (P,) image of every problem.
        frames: (P,) frame that is filtered, for per-frame problems of videos, else `None`.
        loss_of_output: (outputs (P, K), problems (P,)) to losses (P,).
        problems: (P,) numbers of the problems that are left.
        filter_type: see `constrain`.
        eps: see `constrain`.
    """

    tail: NetworkTail
    maps: LayerMaps
    images: torch.Tensor
    frames: torch.Tensor | None
    loss_of_output: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    problems: torch.Tensor
    filter_type: str
    eps: float

    def __post_init__(self) -> None:
        """Gather what stays the same in all updates until problems stop."""
        self.tail.select(self.images)
        self._own_maps = self.maps.select(self.images)

    def loss(self, parameters: torch.Tensor) -> torch.Tensor:
        """Give (P,) losses of (P, F, h, w) parameters."""
        filters = constrain(parameters, self.filter_type, self.eps)
        if self.frames is not None:
            is_filtered = torch.arange(self.maps.num_frames, device=filters.device) == self.frames[:, None]
            filters = torch.where(is_filtered[..., None, None], filters, 1.0)
        output = self.tail.run(self._own_maps.filtered(filters))
        return self.loss_of_output(output.float(), self.problems)

    def restrict(self, problems: torch.Tensor) -> "TailProblems":
        """Keep the problems with these indices."""
        frames = None if self.frames is None else self.frames[problems]
        return TailProblems(
            self.tail,
            self.maps,
            self.images[problems],
            frames,
            self.loss_of_output,
            self.problems[problems],
            self.filter_type,
            self.eps,
        )
