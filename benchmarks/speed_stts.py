"""What token selection saves: time and memory of one clip of 16 x 224 x 224, against torchvision's MViT-B.

All networks carry the same weights and take the same clip in the same run, in alternating order; a round gives one
ratio, and the median over the rounds counts. With one thread the process's own time is measured, which other processes
disturb less than the clock, with more the clock. Peak memory is what one call adds in a fresh process. The last part
trains through the perturbed top-k, against the literal form that builds the one-hot tensor (rows, samples, k, d).
    python benchmarks/speed_stts.py
    python benchmarks/speed_stts.py --rounds 15 --threads 2 --output speed_stts.json
The command fails when a target is missed: ours without selection no slower than torchvision, T0.5/S0.7 at most 0.40
and T0.9/S0.9 at most 0.82 of ours without selection, and a perturbed top-k without room for the one-hot tensor.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timed_forms import speed_parser, time_in_turn
from torch import nn
from torchvision.models.video import mvit_v1_b

from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.command_line import run
from hf_vidmodels.configuration.configuration_stts import SttsConfig
from hf_vidmodels.conversion.convert_stts import convert_stts
from hf_vidmodels.modeling.modeling_stts import SttsForVideoClassification
from hf_vidmodels.modeling.multiply_adds import multiply_adds
from hf_vidmodels.modeling.ops.perturbed_topk import perturbed_topk

TORCHVISION, FULL = "torchvision mvit_v1_b", "ours, no selection"
PRESETS = {
    FULL: "mvit-b-16x4",
    "ours, T0.9/S0.9": "mvit-b-16x4-t0.9-s0.9",
    "ours, T0.5/S0.7": "mvit-b-16x4-t0.5-s0.7",
}
# Slowest allowed time over that of another network.
TARGETS = (
    (FULL, TORCHVISION, 1.0),
    ("ours, T0.9/S0.9", FULL, 0.82),
    ("ours, T0.5/S0.7", FULL, 0.40),
)
SAME_LOGITS = 1e-5
SELECTION_FIELDS = [f"{kind}_{name}" for kind in ("temporal", "spatial") for name in ("select_layers", "keep_ratios")]

# Rows, samples, kept and candidates of the top-k part: half a frame's tokens, chosen one by one.
ROWS, SAMPLES, KEPT, CANDIDATES = 16, 500, 49, 196
TOPK_FORMS = ("literal", "ours")
# The perturbed top-k may need this share of the one-hot tensor: room for noise and indices.
TOPK_SHARE = 0.25


def main() -> None:
    """Measure, print the tables, and fail when a target is missed."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        print(json.dumps(memory_of(arguments.memory_of)))
        return
    networks = build_networks()
    clip = make_clip()
    difference = same_logits(networks, clip)
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    with torch.inference_mode():
        calls = {name: call_of(network, clip) for name, network in networks.items()}
        seconds = time_in_turn(calls, arguments.rounds, clock)
    rows = [
        {
            "network": name,
            "seconds": statistics.median(times),
            **(
                {"gmacs": multiply_adds(SttsConfig.from_preset(PRESETS[name]))["total"] / 1e9}
                if name in PRESETS
                else {}
            ),
            "peak_mb": measured_apart(name, arguments.threads)["added_mb"],
        }
        for name, times in seconds.items()
    ]
    ratios = [
        {"what": f"{name} / {other}", "ratio": median_ratio(seconds[name], seconds[other]), "target": target}
        for name, other, target in TARGETS
    ]
    topk = {form: measured_apart(f"topk {form}", arguments.threads) for form in TOPK_FORMS}
    print_tables(rows, ratios, topk, difference, arguments)
    if arguments.output:
        settings = {name: str(value) for name, value in vars(arguments).items()}
        content = {"settings": settings, "torch": torch.__version__, "networks": rows, "ratios": ratios, "topk": topk}
        write_json(arguments.output, content)
    missed = [row["what"] for row in ratios if row["ratio"] > row["target"]]
    missed += ["same logits as torchvision"] if difference > SAME_LOGITS else []
    missed += ["memory of the perturbed top-k"] if topk["ours"]["added_mb"] > TOPK_SHARE * one_hot_mb() else []
    if missed:
        sys.exit(f"missed the target: {', '.join(missed)}")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = speed_parser(__doc__, rounds=9)
    parser.add_argument("--memory_of", help=argparse.SUPPRESS)
    return parser.parse_args()


def build_networks() -> dict[str, nn.Module]:
    """Make torchvision's network with random weights, and ours with the same."""
    torch.manual_seed(0)
    reference = mvit_v1_b(weights=None).eval()
    networks: dict[str, nn.Module] = {TORCHVISION: reference}
    for name, preset in PRESETS.items():
        config = SttsConfig.from_preset(preset)
        options = {field: getattr(config, field) for field in SELECTION_FIELDS} | {"allow_new_scorer": True}
        networks[name] = convert_stts(reference.state_dict(), options)
    return networks


def make_clip() -> torch.Tensor:
    """Make (1, 16, 3, 224, 224) normalised values."""
    return torch.randn(1, 16, 3, 224, 224, generator=torch.Generator().manual_seed(1))


def call_of(network: nn.Module, clip: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Give what classifies the clip; torchvision takes channels before frames."""
    if isinstance(network, SttsForVideoClassification):
        return lambda: network(clip).logits
    channels_first = clip.transpose(1, 2).contiguous()
    return lambda: network(channels_first)


def same_logits(networks: dict[str, nn.Module], clip: torch.Tensor) -> float:
    """Give the largest difference between the logits of torchvision's network and ours without selection."""
    with torch.inference_mode():
        logits = [call_of(networks[name], clip)() for name in (TORCHVISION, FULL)]
    return float((logits[0] - logits[1]).abs().max())


def median_ratio(times: list[float], other_times: list[float]) -> float:
    """Give the median over the rounds of time over other time."""
    return statistics.median(one / other for one, other in zip(times, other_times, strict=True))


def measured_apart(what: str, threads: int) -> dict[str, float]:
    """Run `memory_of` in a process of its own."""
    command = [sys.executable, __file__, "--memory_of", what, "--threads", str(threads)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def memory_of(what: str) -> dict[str, float]:
    """Measure by how much one call raises this process's peak memory, and how long it takes."""
    call = topk_step(what.removeprefix("topk ")) if what.startswith("topk ") else network_step(what)
    before = memory_mb("VmRSS")
    start = time.process_time()
    call()
    return {"added_mb": memory_mb("VmHWM") - before, "seconds": time.process_time() - start}


def network_step(name: str) -> Callable[[], None]:
    """Build one network alone and give its call."""
    torch.manual_seed(0)
    if name == TORCHVISION:
        network = mvit_v1_b(weights=None).eval()
    else:
        network = SttsForVideoClassification(SttsConfig.from_preset(PRESETS[name])).eval()
    call = call_of(network, make_clip())

    def step() -> None:
        with torch.inference_mode():
            call()

    return step


def topk_step(form: str) -> Callable[[], None]:
    """Give a forward and backward pass through the perturbed top-k in one of its forms."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(ROWS, CANDIDATES, generator=generator).requires_grad_()
    upstream = torch.randn(ROWS, KEPT, CANDIDATES, generator=generator)

    def step() -> None:
        noise = torch.randn(ROWS, SAMPLES, CANDIDATES, generator=generator)
        if form == "ours":
            indicators = perturbed_topk(scores, KEPT, 0.1, noise=noise)
        else:
            indicators = LiteralTopK.apply(scores, noise, KEPT, 0.1)
        (indicators * upstream).sum().backward()

    return step


class LiteralTopK(torch.autograd.Function):
    """The formula as it is written: an indicator matrix for every sample, kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, scores: torch.Tensor, noise: torch.Tensor, k: int, sigma: float) -> torch.Tensor:
        """Average the indicator matrices of all samples."""
        chosen = (scores[:, None] + sigma * noise).topk(k, dim=-1).indices.sort(dim=-1).values
        one_hot = scores.new_zeros(*chosen.shape, scores.shape[-1]).scatter_(-1, chosen[..., None], 1.0)
        ctx.save_for_backward(one_hot, noise)
        ctx.sigma = sigma
        return one_hot.mean(1)

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Weigh the upstream gradient by the mean of indicators times noise."""
        one_hot, noise = ctx.saved_tensors
        weights = torch.einsum("rskd,rsd->rkd", one_hot, noise) / (noise.shape[1] * ctx.sigma)
        return (grad_output * weights).sum(1), None, None, None


def one_hot_mb() -> float:
    """Give the size of the one-hot tensor in float32, in MB."""
    return ROWS * SAMPLES * KEPT * CANDIDATES * 4 / 1e6


def memory_mb(line: str) -> float:
    """Read this process's present (`VmRSS`) or peak (`VmHWM`) memory in MB.

    Not `resource.getrusage`: its peak is inherited from the process that started this one.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{line}:")[2].split()[0]) * 1024 / 1e6


def print_tables(
    rows: list[dict], ratios: list[dict], topk: dict[str, dict], difference: float, arguments: argparse.Namespace
) -> None:
    """Print what was measured."""
    print(f"one clip of 16 x 224 x 224, {arguments.threads} thread(s), medians of {arguments.rounds} rounds")
    print(f"{'network':24} {'seconds':>9} {'GMACs':>8} {'peak memory':>12}")
    for row in rows:
        gmacs = f"{row['gmacs']:8.2f}" if "gmacs" in row else " " * 8
        print(f"{row['network']:24} {row['seconds']:9.3f} {gmacs} {row['peak_mb']:9.0f} MB")
    print(f"largest difference of logits between torchvision and ours: {difference:.1e}")
    for row in ratios:
        print(f"{row['what']:44} {row['ratio']:6.3f} of at most {row['target']:.2f}")
    print(f"perturbed top-k, {ROWS} x {SAMPLES} samples, {KEPT} of {CANDIDATES}, forward and backward")
    for form, figures in topk.items():
        print(f"{form:24} {figures['seconds']:9.3f} s {figures['added_mb']:9.0f} MB")
    print(f"the one-hot tensor alone takes {one_hot_mb():.0f} MB")


if __name__ == "__main__":
    run(main)
