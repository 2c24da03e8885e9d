"""The two official optimisers of L2-CAF for many independent problems at once, each frozen at its own stop.

Updates, schedules and stops are those of the releases: Adam in TensorFlow's form (epsilon outside the bias
correction) and plain gradient descent; the rate falls linearly; every `check_interval` updates the loss is compared
with that of the last check.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

BETAS = (0.9, 0.999)
ADAM_EPS = 1e-8


class FilterProblems(Protocol):
    """P independent problems over free filter parameters."""

    def loss(self, parameters: torch.Tensor) -> torch.Tensor:
        """Give (P,) losses of (P, ...) parameters; differentiable, row p depends on problem p only."""

    def restrict(self, problems: torch.Tensor) -> "FilterProblems":
        """Keep the problems with these indices."""


@dataclass(frozen=True)
class SolverSettings:
    """Optimiser, schedule and stops; names and meanings as in `L2CafConfig`."""

    optimizer: str
    learning_rate: float = 0.5
    min_learning_rate: float = 0.0
    max_iterations: int = 1000
    check_interval: int = 50
    min_error: float = 1e-6
    relative_tolerance: float | None = None

    def rate(self, update: int) -> float:
        """Give the learning rate of an update, counted from 0."""
        span = self.learning_rate - self.min_learning_rate
        return span * (1 - update / self.max_iterations) + self.min_learning_rate


@dataclass(frozen=True)
class FilterSolution:
    """What the solver found for P problems.

    Attributes:
        parameters: (P, ...) after the last update of each.
        losses: (P, U) loss before each update, NaN after a problem's stop.
        num_updates: (P,) int64.
    """

    parameters: torch.Tensor
    losses: torch.Tensor
    num_updates: torch.Tensor


class _GradientDescent:
    """f <- f - rate * gradient."""

    def step(self, parameters: torch.Tensor, gradient: torch.Tensor, update: int, rate: float) -> torch.Tensor:
        return parameters - rate * gradient

    def restrict(self, kept: torch.Tensor) -> None:
        """Plain descent remembers nothing of its problems."""


class _TensorFlowAdam:
    """Adam with epsilon added to the uncorrected root, as TensorFlow 1 has it."""

    def __init__(self, parameters: torch.Tensor) -> None:
        self.mean, self.square = torch.zeros_like(parameters), torch.zeros_like(parameters)

    def step(self, parameters: torch.Tensor, gradient: torch.Tensor, update: int, rate: float) -> torch.Tensor:
        first, second = BETAS
        self.mean = first * self.mean + (1 - first) * gradient
        self.square = second * self.square + (1 - second) * gradient.square()
        corrected = rate * (1 - second ** (update + 1)) ** 0.5 / (1 - first ** (update + 1))
        return parameters - corrected * self.mean / (self.square.sqrt() + ADAM_EPS)

    def restrict(self, kept: torch.Tensor) -> None:
        self.mean, self.square = self.mean[kept], self.square[kept]


def solve_iteratively(
    problems: FilterProblems,
    start: torch.Tensor,
    settings: SolverSettings,
    on_update: Callable[[int, torch.Tensor], None] | None = None,
) -> FilterSolution:
    """Optimise all problems together; the trajectory of each equals that of a run by itself.

    Args:
        problems: the losses.
        start: (P, ...) parameters before the first update.
        settings: optimiser, schedule and stops.
        on_update: called with the number of the update and the (P, ...) parameters after it, for those who watch.

    Raises:
        ValueError: when a loss is not a finite number.
    """
    final = start.detach().clone()
    parameters, active = final, torch.arange(len(start), device=start.device)
    optimizer = _TensorFlowAdam(parameters) if settings.optimizer == "adam" else _GradientDescent()
    num_updates = torch.full((len(start),), settings.max_iterations, device=start.device)
    losses: list[torch.Tensor] = []
    last_checked: torch.Tensor | None = None
    for update in range(settings.max_iterations):
        loss, gradient = _loss_and_gradient(problems, parameters)
        losses.append(torch.full((len(start),), torch.nan, dtype=loss.dtype, device=loss.device))
        losses[-1][active] = loss
        parameters = optimizer.step(parameters, gradient, update, settings.rate(update))
        final = final.index_copy(0, active, parameters)
        if on_update is not None:
            on_update(update, final)
        if update % settings.check_interval:
            continue
        if not torch.isfinite(loss).all():
            raise ValueError(
                f"the loss of the attention filter is not finite at update {update}; check the network's weights and "
                "inputs, or lower learning_rate"
            )
        stopped = _has_converged(loss, last_checked, settings)
        last_checked = loss
        if not stopped.any():
            continue
        num_updates[active[stopped]] = update + 1
        kept = (~stopped).nonzero()[:, 0]
        if not len(kept):
            break
        active, parameters, last_checked = active[kept], parameters[kept], loss[kept]
        optimizer.restrict(kept)
        problems = problems.restrict(kept)
    return FilterSolution(final, torch.stack(losses, 1), num_updates)


def _loss_and_gradient(problems: FilterProblems, parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.enable_grad():
        leaf = parameters.detach().requires_grad_()
        loss = problems.loss(leaf)
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    return loss.detach(), gradient


def _has_converged(loss: torch.Tensor, previous: torch.Tensor | None, settings: SolverSettings) -> torch.Tensor:
    if previous is None:
        return torch.zeros_like(loss, dtype=torch.bool)
    change = (loss - previous).abs()
    converged = change < settings.min_error
    if settings.relative_tolerance is not None:
        converged |= change < settings.relative_tolerance * previous.abs()
    return converged
