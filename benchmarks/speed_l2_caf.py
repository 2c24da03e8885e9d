"""How much faster L2-CAF's exact and batched solvers are than the official updates, one picture at a time.

The head of a ResNet-50 on ImageNet, 2048 x 7 x 7 into 1000 classes, on feature maps and weights that are random but of
its kind (ReLU features, centred weights). Three comparisons, all in one process:
  exact, class-specific and class-oblivious   against 1000 updates of the PyTorch release, per picture
  the batched iterative solver                against itself on one problem at a time
    python benchmarks/speed_l2_caf.py
    python benchmarks/speed_l2_caf.py --updates 1000 --repeats 5 --output speed_l2_caf.json
The command fails when a target is missed: 50 times (class-oblivious), 500 times (class-specific) and 8 times (batched)
the speed, and an objective that is never worse.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.command_line import run
from hf_vidmodels.modeling.layers.filter_problems import ReducedProblems
from hf_vidmodels.modeling.ops.exact_filters import QuadraticObjective, linear_objective, preserving_objective
from hf_vidmodels.modeling.ops.filter_solvers import SolverSettings, solve_iteratively

CHANNELS, CELLS, CLASSES = 2048, 7, 1000
TARGETS = (50, 500, 8)
# How much worse an objective may be for its last float32 bits.
SAME_OBJECTIVE = 1e-5
SETTINGS = SolverSettings("sgd", min_learning_rate=1e-5)


def main() -> None:
    """Read the command line, measure and print a table."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    head = random_head(arguments.pictures)
    rows = [
        compare_exact(head, None, arguments.updates, arguments.repeats),
        compare_exact(head, 3, arguments.updates, arguments.repeats),
        compare_batched(head, arguments.classes, arguments.updates),
    ]
    for row in rows:
        print(
            f"{row['what']:34} {row['slow_ms']:10.2f} ms {row['fast_ms']:10.3f} ms {row['speedup']:9.1f} x   "
            f"objective {row['slow_objective']:.5f} -> {row['fast_objective']:.5f}"
        )
    if arguments.output:
        settings = {name: str(value) for name, value in vars(arguments).items()}
        write_json(arguments.output, {"settings": settings, "torch": torch.__version__, "rows": rows})
        print(f"wrote {arguments.output}: {json.dumps(settings)}")
    missed = [
        row["what"]
        for row, target in zip(rows, TARGETS, strict=True)
        if row["speedup"] < target or row["fast_objective"] > row["slow_objective"] + SAME_OBJECTIVE
    ]
    if missed:
        sys.exit(f"missed the target: {', '.join(missed)}")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=1000, help="official updates")
    parser.add_argument("--pictures", type=int, default=16, help="pictures of the batch")
    parser.add_argument("--classes", type=int, default=5, help="classes of each picture in the batch")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions of the exact solver, the median counts")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--output", type=Path, help="also write the figures to this JSON file")
    return parser.parse_args()


def random_head(num_pictures: int) -> dict[str, torch.Tensor]:
    """Make feature maps and a linear layer of the size of ResNet-50's."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(num_pictures, CHANNELS, CELLS, CELLS, generator=generator).relu()
    weight = torch.randn(CLASSES, CHANNELS, generator=generator) / CHANNELS**0.5
    return {"maps": maps, "weight": weight, "bias": torch.zeros(CLASSES)}


def official_updates(head: dict[str, torch.Tensor], class_id: int | None, updates: int) -> tuple[torch.Tensor, float]:
    """Optimise the filter of the first picture as the PyTorch release does in its fast mode: the head in every update.

    All updates run, without the early stop, as at the release's least tolerance.
    """
    maps, weight, bias = head["maps"][:1], head["weight"], head["bias"]
    unfiltered = torch.nn.functional.linear(maps.mean((2, 3)), weight, bias)
    parameters = torch.ones(1, 1, CELLS, CELLS, requires_grad=True)
    loss = torch.zeros(())
    for update in range(updates):
        filters = parameters / parameters.norm()
        logits = torch.nn.functional.linear((maps * filters).mean((2, 3)), weight, bias)
        change = (logits - unfiltered).square().mean()
        loss = change if class_id is None else logits.sum() - 2 * logits[0, class_id]
        (gradient,) = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            parameters -= SETTINGS.rate(update) * gradient
    return (parameters / parameters.norm()).detach(), float(loss.detach())


def objective_of(head: dict[str, torch.Tensor], pictures: slice, classes: torch.Tensor | None) -> QuadraticObjective:
    """Reduce the head to a quadratic form for some pictures, with (pictures, Q) classes or class-oblivious."""
    maps = head["maps"][pictures]
    if classes is None:
        return preserving_objective(maps, head["weight"])
    chosen = torch.nn.functional.one_hot(classes, CLASSES).float()
    return linear_objective(maps, head["weight"], head["bias"], 1 - 2 * chosen)


def compare_exact(head: dict[str, torch.Tensor], class_id: int | None, updates: int, repeats: int) -> dict[str, Any]:
    """Time official updates and the exact filter of one picture; both from feature map to filter."""
    classes = None if class_id is None else torch.tensor([[class_id]])
    slow_s, (_, slow_objective) = timed(lambda: official_updates(head, class_id, updates))

    def solve() -> torch.Tensor:
        return objective_of(head, slice(0, 1), classes).minimize()

    solve()
    times = [timed(solve) for _ in range(repeats)]
    fast_s = statistics.median(seconds for seconds, _ in times)
    return {
        "what": f"exact, {'class-oblivious' if class_id is None else 'class-specific'}",
        "slow_ms": slow_s * 1e3,
        "fast_ms": fast_s * 1e3,
        "speedup": slow_s / fast_s,
        "slow_objective": slow_objective,
        "fast_objective": float(objective_of(head, slice(0, 1), classes).value(times[0][1])),
    }


def compare_batched(head: dict[str, torch.Tensor], num_classes: int, updates: int) -> dict[str, Any]:
    """Time the iterative solver on all pictures and classes together and one by one, all updates each."""
    num_pictures = len(head["maps"])
    classes = torch.arange(num_pictures * num_classes).view(num_pictures, num_classes) % CLASSES
    settings = SolverSettings("sgd", min_learning_rate=1e-5, max_iterations=updates, min_error=0.0)

    def solve(pictures: slice, chosen: torch.Tensor) -> torch.Tensor:
        problems = ReducedProblems(objective_of(head, pictures, chosen), "l2norm", 1e-12)
        start = torch.ones(chosen.numel(), 1, CELLS, CELLS)
        solution = solve_iteratively(problems, start, settings)
        return problems.loss(solution.parameters)

    def one_by_one() -> torch.Tensor:
        return torch.cat(
            [
                solve(slice(picture, picture + 1), classes[picture : picture + 1, index : index + 1])
                for picture in range(num_pictures)
                for index in range(num_classes)
            ]
        )

    fast_s, together = timed(lambda: solve(slice(None), classes))
    slow_s, alone = timed(one_by_one)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    return {
        "what": f"batched, {num_pictures} pictures x {num_classes} classes",
        "slow_ms": slow_s * 1e3,
        "fast_ms": fast_s * 1e3,
        "speedup": slow_s / fast_s,
        "slow_objective": float(alone.mean()),
        "fast_objective": float(together.mean()),
    }


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Run a function and give the seconds it took with its result."""
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


if __name__ == "__main__":
    run(main)
