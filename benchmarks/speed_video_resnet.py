"""Speed of residual video networks, of GTA's mixing and of test views, in one run and on one thread.

    pip install --target DIR --no-deps pytorchvideo fvcore iopath parameterized portalocker tabulate termcolor yacs
    PYTHONPATH=DIR python benchmarks/speed_video_resnet.py [--parts networks training mixing views] [--output FILE]

networks: ours against pytorchvideo's slow_r50 and i3d_r50 (8 x 224 x 224) and slowfast_r50 (32 x 224 x 224) with the
same random weights, in evaluation: as it is, with batch norms folded, also with channels innermost, and that in
bfloat16. Logits in float32 must be equal to 1e-4 of the greatest. The fastest form may take 0.85 of pytorchvideo's
time.
training: a step of slow_r50 on one clip, forward, backward and SGD; plain, with channels innermost, and in bfloat16
with channels innermost. The fastest may take as long as pytorchvideo's.
mixing: GTA's product of one matrix with all groups and frames against the loop over heads and groups, on projected
maps of res3 of a ResNet-50; 5 times the speed.
views: 10 x 3 views of one video of 10 s, which is opened once, against opening it for each view; 3 times the speed.
Beside them the time of slow_r50 on the 30 views, of which all may take 5 % besides the network.

Forms take turns, and the smallest of several times counts, in process time, which other processes disturb least. The
command fails when a target is missed.
"""

import argparse
import copy
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timed_forms import time_in_turn
from torch import nn

from hf_vidmodels import VideoResNetConfig, VideoResNetForVideoClassification, VideoResNetVideoProcessor
from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.conversion.convert_video_resnet import convert_video_resnet
from hf_vidmodels.data.video_writing import write_video
from hf_vidmodels.evaluation.answer_forms import prepare_to_answer
from hf_vidmodels.modeling.backbones.video_resnet import slow_frame_index
from hf_vidmodels.modeling.layers.convolution_forms import put_channels_last
from hf_vidmodels.modeling.layers.temporal_attention import CrossChannelTemporalMixing, rows_by_place
from hf_vidmodels.processing.decoding import open_video, read_frames
from hf_vidmodels.processing.video_files import packets_of_file
from hf_vidmodels.tasks import BFLOAT16

REFERENCE = "pytorchvideo"
# Name of pytorchvideo's network -> frames, and what weights do not tell.
NETWORKS = {
    "slow_r50": (8, {"head_pool_kernel_size": [8, 7, 7]}),
    "i3d_r50": (8, {"head_pool_kernel_size": [4, 7, 7]}),
    "slowfast_r50": (
        32,
        {"head_pool_kernel_sizes": [[8, 7, 7], [32, 7, 7]], "slowfast_fusion_conv_stride": [4, 1, 1]},
    ),
}
SIDE, ALPHA = 224, 4
# Of the greatest logit.
SAME_LOGITS = 1e-4
EVALUATION_SHARE, TRAINING_SHARE = 0.85, 1.0
MIXING_GAIN, VIEWS_GAIN, OUTSIDE_SHARE = 5.0, 3.0, 0.05
VIDEO_SECONDS, VIDEO_FPS, VIDEO_SIZE = 10, 30, (256, 340)
# Channels inside the attention, frames and rows of res3's maps in a ResNet-50, and GTA's default groups.
MIXED_MAPS, NUM_GROUPS = (256, 8, 28), 4

Forms = Mapping[str, Callable[[], Any]]


def main() -> None:
    arguments = parse_arguments()
    results, missed = {}, []
    # One process for each, because what a part leaves in memory slows the next.
    with multiprocessing.get_context("spawn").Pool(1, start_part, maxtasksperchild=1) as process:
        for part in arguments.parts:
            results[part], faults = process.apply(MEASUREMENTS[part], (arguments.rounds,))
            missed += faults
    if arguments.output:
        write_json(arguments.output, {"torch": torch.__version__, **results})
    if missed:
        sys.exit(f"missed: {'; '.join(missed)}")


def start_part() -> None:
    """Let a process compute on one thread, and draw the same numbers in every run."""
    torch.set_num_threads(1)
    torch.manual_seed(0)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS), help="default: all")
    parser.add_argument("--rounds", type=int, default=3, help="times that every form is measured (default: 3)")
    parser.add_argument("--output", type=Path, help="also write the figures to this JSON file")
    return parser.parse_args()


def measure_networks(rounds: int) -> tuple[dict[str, Any], list[str]]:
    """Time evaluation of each network in all its forms."""
    found = {name: measure_network(name, rounds) for name in NETWORKS}
    return {name: results for name, (results, _) in found.items()}, [
        one for _, missed in found.values() for one in missed
    ]


def measure_network(name: str, rounds: int) -> tuple[dict[str, Any], list[str]]:
    """Time evaluation of one network in all its forms."""
    reference, ours, clips = build_pair(name)
    folded = copy.deepcopy(ours)
    folded.fold_batch_norms()
    innermost = copy.deepcopy(folded)
    put_channels_last(innermost)
    bfloat16 = copy.deepcopy(ours)
    prepare_to_answer(bfloat16, BFLOAT16)
    forms = {
        REFERENCE: call_of(name, reference, clips),
        "ours": lambda: ours(clips).logits,
        "folded": lambda: folded(clips).logits,
        "folded, channels last": lambda: innermost(clips).logits,
        "folded, channels last, bfloat16": lambda: bfloat16(clips).logits,
    }
    with torch.inference_mode():
        seconds = fastest(forms, rounds)
        logits = {form: call() for form, call in forms.items()}
    expected = logits[REFERENCE]
    differences = {
        form: float((values - expected).abs().max() / expected.abs().max()) for form, values in logits.items()
    }
    print_forms(f"{name}, evaluation of one clip", seconds, differences)
    exact = max(difference for form, difference in differences.items() if "bfloat16" not in form)
    missed = [f"logits of {name} differ by {exact:.1e} of the greatest"] if exact > SAME_LOGITS else []
    return {"seconds": seconds, "differences": differences}, missed + too_slow(name, seconds, EVALUATION_SHARE)


def measure_training(rounds: int) -> tuple[dict[str, Any], list[str]]:
    """Time a training step of slow_r50."""
    name = "slow_r50"
    reference, ours, clips = build_pair(name)
    label = torch.tensor([3])
    innermost = copy.deepcopy(ours)
    put_channels_last(innermost)
    bfloat16 = copy.deepcopy(innermost)
    answer = call_of(name, reference, clips)
    losses = {
        REFERENCE: (reference, lambda: nn.functional.cross_entropy(answer(), label)),
        "ours": (ours, lambda: ours(clips, labels=label).loss),
        "channels last": (innermost, lambda: innermost(clips, labels=label).loss),
        "channels last, bfloat16": (
            bfloat16,
            torch.autocast("cpu", torch.bfloat16)(lambda: bfloat16(clips, labels=label).loss),
        ),
    }
    seconds = fastest({form: training_step(*pair) for form, pair in losses.items()}, rounds)
    print_forms(f"{name}, training step of one clip", seconds)
    return {"seconds": seconds}, too_slow(f"{name} in training", seconds, TRAINING_SHARE)


def measure_mixing(rounds: int) -> tuple[dict[str, Any], list[str]]:
    """Time cross-channel multi-head mixing of values as the projection gives them: to the loop in groups, to ours
    place by place. What brings the weights of both projections into that order counts on our side.
    """
    width, frames, side = MIXED_MAPS
    mixing = CrossChannelTemporalMixing(2 * width, width, frames, NUM_GROUPS)
    mixing.start()
    values = torch.randn(1, width, frames, side, side)
    places = rows_by_place(values[0], NUM_GROUPS)[None]
    entering, leaving = mixing.value.weight, torch.randn(2 * width, width, 1, 1, 1)

    def ours() -> torch.Tensor:
        rows_by_place(entering, NUM_GROUPS)
        rows_by_place(leaving.transpose(0, 1), NUM_GROUPS)
        return mixing.mix(places)

    forms = {"loop": lambda: looped_mixing(mixing, values), "ours": ours}
    with torch.inference_mode():
        expected = rows_by_place(forms["loop"]()[0], NUM_GROUPS)[None]
        difference = float((ours() - expected).abs().max())
        seconds = fastest(forms, 20 * rounds)
    gain = seconds["loop"] / seconds["ours"]
    loop, ours = (1000 * seconds[form] for form in forms)
    print(
        f"\nmixing: loop {loop:.1f} ms, ours {ours:.1f} ms, {gain:.1f} times the speed, results differ "
        f"{difference:.1e}"
    )
    missed = [f"mixing is {gain:.1f} times as fast, not {MIXING_GAIN:.0f}"] if gain < MIXING_GAIN else []
    return {"seconds": seconds, "difference": difference}, missed


def measure_views(rounds: int) -> tuple[dict[str, Any], list[str]]:
    """Time making 10 x 3 views of a video, once for all and each by itself, and the network on them."""
    config = VideoResNetConfig.from_preset("slow_r50_8x8")
    processor = VideoResNetVideoProcessor.from_config(config, size={"shortest_edge": 256})
    model = VideoResNetForVideoClassification(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "video.mp4"
        write_video(video, moving_texture(), VIDEO_FPS)
        counts = {"num_views": processor.evaluation_views, "num_crops": processor.evaluation_crops}

        def once() -> torch.Tensor:
            packets_of_file.cache_clear()
            return processor(video, **counts)["pixel_values"][0]

        with torch.inference_mode():
            difference = float((once() - each_by_itself(processor, video)).abs().max())
            forms = {"each": lambda: each_by_itself(processor, video), "once": once}
            seconds = fastest(forms, rounds)
            views = once()
            seconds["network"] = fastest({"network": lambda: model(views[:1])}, rounds)["network"] * len(views)
    gain, share = seconds["each"] / seconds["once"], seconds["once"] / (seconds["once"] + seconds["network"])
    print(
        f"\n30 views of {VIDEO_SECONDS} s: each by itself {seconds['each']:.2f} s, once for all "
        f"{seconds['once']:.2f} s, {gain:.1f} times the speed, results differ {difference:.1e}\n"
        f"slow_r50 on them {seconds['network']:.1f} s in float32; {100 * share:.1f} % of the whole are outside it"
    )
    missed = [f"views are {gain:.1f} times as fast, not {VIEWS_GAIN:.0f}"] if gain < VIEWS_GAIN else []
    missed += [f"{100 * share:.1f} % of the time are outside the network"] if share > OUTSIDE_SHARE else []
    return {"seconds": seconds, "difference": difference}, missed


def build_pair(name: str) -> tuple[nn.Module, VideoResNetForVideoClassification, torch.Tensor]:
    """Make pytorchvideo's network with random weights and statistics, ours with these, and a clip (1, T, 3, H, W)."""
    try:
        from pytorchvideo.models import hub
    except ImportError as error:
        sys.exit(f"this part needs pytorchvideo ({error}); install it as the first lines of --help say")
    num_frames, options = NETWORKS[name]
    reference = getattr(hub, name)(pretrained=False).eval()
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return reference, convert_video_resnet(reference.state_dict(), options), torch.randn(1, num_frames, 3, SIDE, SIDE)


def call_of(name: str, reference: nn.Module, clips: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Give what runs pytorchvideo's network on a clip: channels first, of SlowFast both pathways."""
    maps = clips.transpose(1, 2).contiguous()
    if name != "slowfast_r50":
        return lambda: reference(maps)
    slow = maps[:, :, slow_frame_index(maps.shape[2], ALPHA)]
    # It writes into the list that it is given.
    return lambda: reference([slow, maps])


def training_step(network: nn.Module, loss: Callable[[], torch.Tensor]) -> Callable[[], None]:
    """Give what trains a network by one step."""
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def looped_mixing(mixing: CrossChannelTemporalMixing, maps: torch.Tensor) -> torch.Tensor:
    """Mix as the formula stands: for every head the sum over groups of their matrices times their frames."""
    groups = maps.chunk(mixing.num_groups, dim=1)
    heads = [
        sum(
            torch.einsum("ts,bcshw->bcthw", mixing.attention[head, number], group)
            for number, group in enumerate(groups)
        )
        for head in range(mixing.num_groups)
    ]
    return torch.cat(heads, dim=1)


def each_by_itself(processor: VideoResNetVideoProcessor, video: Path) -> torch.Tensor:
    """Make the views of a video as loaders do that take one view at a time: open, decode and resize for every one, and
    find out anew which frames there are.
    """
    num_views, num_crops = processor.evaluation_views, processor.evaluation_crops
    views = []
    for number in range(num_views * num_crops):
        packets_of_file.cache_clear()
        source = open_video(video)
        positions = processor.frame_sampling.views(source.num_frames, source.frame_rate, num_views)
        frames = read_frames(source, positions[number // num_crops])
        crops = processor(frames, do_sample_frames=False, num_crops=num_crops)["pixel_values"][0]
        views.append(crops[number % num_crops])
    return torch.stack(views)


def moving_texture() -> np.ndarray:
    """Make frames (T, H, W, 3) of a texture that drifts."""
    height, width = VIDEO_SIZE
    coarse = np.random.default_rng(0).integers(0, 256, (height // 8, width, 3), dtype=np.uint8)
    texture = coarse.repeat(8, axis=0)
    return np.stack([np.roll(texture, frame, axis=1) for frame in range(VIDEO_SECONDS * VIDEO_FPS)])


def fastest(forms: Forms, rounds: int) -> dict[str, float]:
    """Give the smallest process time of each form in seconds."""
    return {form: min(times) for form, times in time_in_turn(forms, rounds, time.process_time).items()}


def print_forms(title: str, seconds: dict[str, float], differences: Mapping[str, float] | None = None) -> None:
    """Print a line for each form."""
    print(f"\n{title}\n{'form':34}{'seconds':>9}{'of ' + REFERENCE:>18}{'logits differ' if differences else '':>15}")
    for form, value in seconds.items():
        difference = f"{differences[form]:15.1e}" if differences else ""
        print(f"{form:34}{value:9.3f}{value / seconds[REFERENCE]:18.2f}{difference}", flush=True)


def too_slow(what: str, seconds: dict[str, float], greatest: float) -> list[str]:
    """Say that the fastest of our forms takes more than a share of pytorchvideo's time, if it does."""
    share = min(value for form, value in seconds.items() if form != REFERENCE) / seconds[REFERENCE]
    return [f"{what} takes {share:.2f} of {REFERENCE}'s time, not {greatest}"] if share > greatest else []


MEASUREMENTS = {
    "networks": measure_networks,
    "training": measure_training,
    "mixing": measure_mixing,
    "views": measure_views,
}

if __name__ == "__main__":
    main()
