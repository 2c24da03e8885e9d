"""What Cross-X's form saves: time of a forward pass in evaluation, and of a training step.

The plain form is what the official code computes: merged maps are convolved and then averaged, excitations are
computed one by one, the last block also makes the map that nobody sees, C3S forms all pairs of pictures, channels come
first. Both forms have the same weights and take the same pictures in the same run, in alternating order; a round gives
one ratio and the median counts. With one thread the process's own time is measured, which other processes disturb less
than the clock.

    python benchmarks/speed_cross_x.py
    python benchmarks/speed_cross_x.py --rounds 9 --output speed_cross_x.json

The command fails when a target is missed: of ResNet-50 at 448 pixels, batch 2, an evaluation takes at most 0.7 of the
plain form's time, with logits that differ by at most 1e-5 of the largest, and a training step at most 0.95.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from timed_forms import as_plain, ratio, speed_parser
from torch import nn

from hf_vidmodels import CrossXConfig, CrossXForImageClassification
from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.modeling import modeling_cross_x
from hf_vidmodels.modeling.layers.part_blocks import Excitations, PartBottleneck, PartMerge

PRESET, SIDE, BATCH = "cross_x_resnet50_cub", 448, 2
MOST_EVALUATION, MOST_STEP, SAME_LOGITS = 0.7, 0.95, 1e-5


def main() -> None:
    """Measure, print the ratios, and fail when a target is missed."""
    arguments = speed_parser(__doc__, rounds=5).parse_args()
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    torch.manual_seed(0)
    model = CrossXForImageClassification(CrossXConfig.from_preset(PRESET))
    batch = torch.randn(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    calls = {"evaluation": evaluation_of(model, batch), "step": step_of(model, batch)}
    expected, found = as_plain(calls["evaluation"], plain_form)(), calls["evaluation"]()
    difference = float((found - expected).abs().max() / expected.abs().max())
    print(f"largest difference of both forms' logits, as a share of the largest: {difference:.1e}")
    rows = (("evaluation", "evaluation", MOST_EVALUATION), ("step", "training step", MOST_STEP))
    results = {}
    for name, title, most in rows:
        results[name] = seconds = ratio(calls[name], as_plain(calls[name], plain_form), arguments.rounds, clock)
        print(
            f"{title} of {BATCH} pictures of {SIDE}: {seconds['fast']:.3f} s, plain {seconds['plain']:.3f} s, ratio "
            f"{seconds['ratio']:.3f} (from {seconds['least']:.3f} to {seconds['most']:.3f}), at most {most:g}"
        )
    if arguments.output:
        write_json(arguments.output, {"torch": torch.__version__, "difference": difference, **results})
    missed = [title for name, title, most in rows if results[name]["ratio"] > most]
    missed += ["same logits"] if difference > SAME_LOGITS else []
    if missed:
        sys.exit(f"missed the target: {', '.join(missed)}")


@contextmanager
def plain_form() -> Iterator[None]:
    """Let the network compute in the plain form inside the block."""
    forward_parts = PartBottleneck.forward_parts

    def convolve_then_average(self: PartMerge, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        return self.merged_map(fine, coarse).mean((2, 3))

    def excite_one_by_one(self: Excitations, means: torch.Tensor) -> torch.Tensor:
        count, layers = len(self.weight), []
        for number in range(count):
            weight, bias = (values.chunk(count)[number] for values in (self.squeeze.weight, self.squeeze.bias))
            hidden = nn.functional.linear(means, weight, bias).relu()
            layers.append(nn.functional.linear(hidden, self.weight[number].T, self.bias[number]).sigmoid())
        return torch.stack(layers, 1)

    def with_unseen_map(
        self: PartBottleneck, features: torch.Tensor, *, is_last: bool
    ) -> tuple[torch.Tensor | None, list[torch.Tensor]]:
        return forward_parts(self, features, is_last=False)

    def pair_by_pair(features: torch.Tensor, *, across_processes: bool = False) -> torch.Tensor:
        directions = nn.functional.normalize(features, dim=-1).unbind(1)
        terms = []
        for first, one in enumerate(directions):
            terms.append(1 - (one @ one.T).mean())
            terms += [(one @ other.T).mean() for other in directions[first + 1 :]]
        return torch.stack(terms).sum()

    with (
        patch.object(PartMerge, "merged_means", convolve_then_average),
        patch.object(Excitations, "forward", excite_one_by_one),
        patch.object(PartBottleneck, "forward_parts", with_unseen_map),
        patch.object(modeling_cross_x, "c3s_loss", pair_by_pair),
        patch.object(modeling_cross_x, "MAP_FORMAT", torch.contiguous_format),
    ):
        yield


def evaluation_of(model: nn.Module, batch: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Give a forward pass in evaluation mode."""

    def evaluate() -> torch.Tensor:
        with torch.inference_mode():
            return model.eval()(batch).logits

    return evaluate


def step_of(model: nn.Module, batch: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Give a training step without the optimizer's: the loss and the gradients."""
    labels = torch.arange(len(batch))

    def step() -> torch.Tensor:
        model.train().zero_grad()
        loss = model(batch, labels=labels).loss
        loss.backward()
        return loss

    return step


if __name__ == "__main__":
    main()
