"""What STEP costs: network and heads of one AVA clip, and suppression over classes and clips, against plain forms.

The plain network has the same weights and the official structure: every convolution and maximum on a padded copy,
norms apart, the classifier and the boxes of neighbouring chunks for every frame of every step. Ours folds the norms,
lays channels innermost, takes means over time before the classifier, and asks the last step for the key frame's boxes
alone. Both see the same clip in turn on one thread; the process's own time counts, a round gives one ratio, and their
median is reported. Key-frame boxes and probabilities must be equal.

The trunk on clips of a film that begin a second after each other is measured as well, each alone and with what it
shares with the one before.

    python benchmarks/speed_step.py
    python benchmarks/speed_step.py --rounds 5 --side 224
The command fails when a target is missed: network at most 0.6 of the plain form, suppression at least 10 times as
fast.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn
from torchvision.ops import nms

from hf_vidmodels.command_line import run
from hf_vidmodels.configuration.configuration_i3d import TRUNK_BLOCKS
from hf_vidmodels.configuration.configuration_step import StepConfig
from hf_vidmodels.modeling.backbones.i3d import ConvUnit, I3dModel, MixedBlock
from hf_vidmodels.modeling.backbones.i3d_overlaps import OverlappingClips
from hf_vidmodels.modeling.layers.convolution_forms import fold_batch_norms, put_channels_last
from hf_vidmodels.modeling.layers.tube_cascade import ClipFeatures, clip_of_tubes
from hf_vidmodels.modeling.layers.tube_heads import TwoBranchHead
from hf_vidmodels.modeling.modeling_step import StepForActionDetection
from hf_vidmodels.modeling.ops.box_coding import decode_boxes
from hf_vidmodels.modeling.ops.detections import suppress_by_class
from hf_vidmodels.modeling.ops.tube_extension import extend_by_boxes, keep_in_frame

LARGEST_SHARE, LEAST_FACTOR = 0.6, 10.0
CLIPS, TUBES, CLASSES = 8, 34, 60


def main() -> None:
    """Measure, print, and fail when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs")
    parser.add_argument("--side", type=int, default=400, help="side of the frames in pixels")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    missed = [*measure_network(arguments.rounds, arguments.side), *measure_suppression(arguments.rounds)]
    measure_overlaps(arguments.rounds, arguments.side)
    if missed:
        sys.exit("missed: " + "; ".join(missed))


def measure_network(rounds: int, side: int) -> list[str]:
    """Compare both forms of the network on one clip."""
    torch.manual_seed(0)
    config = StepConfig(image_size=[side, side])
    plain, ours = (StepForActionDetection(config).eval() for _ in range(2))
    # Random norms, so that folding them is no empty step.
    for norm in (part for part in plain.modules() if isinstance(part, nn.BatchNorm3d)):
        nn.init.uniform_(norm.weight, 1.0, 2.0)
        nn.init.uniform_(norm.running_var, 0.3, 0.6)
    ours.load_state_dict(plain.state_dict())
    fold_batch_norms(ours)
    put_channels_last(ours)
    clip = torch.rand(1, config.num_frames, 3, side, side) * 2 - 1
    key = [config.num_feature_frames // 2]

    def run_ours() -> tuple[torch.Tensor, torch.Tensor]:
        tubes, _ = ours._first_tubes(clip, None, None)
        last = ours.heads(ours.features(clip), tubes, last_frames=key)[-1]
        return last.scores.logits.sigmoid(), last.boxes[:, 0]

    pairs = [(timed(lambda: plain_answer(plain, clip)), timed(run_ours)) for _ in range(rounds)]
    for (_, theirs), (_, mine) in pairs:
        for expected, found in zip(theirs, mine, strict=True):
            torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    share = statistics.median(mine / theirs for (theirs, _), (mine, _) in pairs)
    theirs, mine = (statistics.median(pair[number][0] for pair in pairs) for number in (0, 1))
    print(
        f"network, 36 x {side} x {side}, {TUBES} tubes, 3 steps: plain {theirs:.2f} s, ours {mine:.2f} s, {share:.3f}"
    )
    return [f"network {share:.3f} > {LARGEST_SHARE}"] if share > LARGEST_SHARE else []


def measure_overlaps(rounds: int, side: int) -> None:
    """Compare the trunk on each clip alone with what `detect_actions` does, for clips a second after each other."""
    torch.manual_seed(0)
    config = StepConfig(image_size=[side, side])
    trunk = I3dModel(config.backbone_config).eval()
    fold_batch_norms(trunk)
    put_channels_last(trunk)
    second = round(config.frame_rate)
    film = torch.rand(1, config.num_frames + second * rounds, 3, side, side) * 2 - 1
    overlaps, pairs = OverlappingClips(trunk), []
    timed(lambda: overlaps(film[:, : config.num_frames], [0]))
    for start in range(second, second * (rounds + 1), second):
        clip = film[:, start : start + config.num_frames]
        (alone, expected), (shared, found) = (
            timed(lambda clip=clip: trunk(clip).last_hidden_state),
            timed(lambda clip=clip: overlaps(clip, [second])),
        )
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-3)
        pairs.append((alone, shared))
    alone, shared = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"trunk of a clip a second later: alone {alone:.2f} s, sharing with the one before {shared:.2f} s")


def measure_suppression(rounds: int) -> list[str]:
    """Compare one call for all classes and clips with one call for each."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(CLIPS, TUBES, 2, generator=generator) * 200
    boxes = torch.cat((corners, corners + 80 + 100 * torch.rand(CLIPS, TUBES, 2, generator=generator)), dim=-1)
    scores = torch.rand(CLIPS, TUBES, CLASSES, generator=generator)

    def one_by_one() -> torch.Tensor:
        found = torch.zeros_like(scores, dtype=torch.bool)
        for clip in range(CLIPS):
            grown = torch.cat((boxes[clip, :, :2], boxes[clip, :, 2:] + 1), dim=1)
            for label in range(CLASSES):
                places = (scores[clip, :, label] > 0.01).nonzero().flatten()
                kept = nms(grown[places], scores[clip, places, label], 0.4)
                found[clip, places[kept], label] = True
        return found

    def together() -> torch.Tensor:
        return suppress_by_class(boxes, scores, 0.01, 0.4)

    assert torch.equal(one_by_one(), together())
    pairs = [(timed(one_by_one)[0], timed(together)[0]) for _ in range(10 * rounds)]
    factor = statistics.median(theirs / mine for theirs, mine in pairs)
    theirs, mine = (1000 * statistics.median(pair[number] for pair in pairs) for number in (0, 1))
    print(
        f"suppression, {CLIPS} clips, {CLASSES} classes: one by one {theirs:.1f} ms, ours {mine:.1f} ms, {factor:.1f}x"
    )
    return [f"suppression {factor:.1f}x < {LEAST_FACTOR}x"] if factor < LEAST_FACTOR else []


def timed(call: Callable) -> tuple[float, object]:
    """Give the process's time of a call and its result."""
    with torch.no_grad():
        start = time.process_time()
        result = call()
        return time.process_time() - start, result


def plain_answer(model: StepForActionDetection, clip: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Give probabilities and key-frame boxes as the official structure computes them."""
    config, trunk = model.config, model.backbone
    maps = pooled(plain_unit(trunk.stem.conv_1a, clip.transpose(1, 2).contiguous()), (1, 3, 3), (1, 2, 2))
    maps = plain_unit(trunk.stem.conv_2c, plain_unit(trunk.stem.conv_2b, maps))
    maps = pooled(maps, (1, 3, 3), (1, 2, 2))
    for name in TRUNK_BLOCKS:
        maps = plain_block(trunk.blocks[name], maps)
        if name == "3c":
            maps = pooled(maps, (3, 3, 3), (2, 2, 2))
    context = pooled(maps, (1, 3, 3), (1, 2, 2))
    for block in model.context.blocks:
        context = plain_block(block, context)
    features = ClipFeatures(maps.transpose(1, 2), context.mean((3, 4)).transpose(1, 2))
    tubes, _ = model._first_tubes(clip, None, None)
    clips = clip_of_tubes(features, tubes)
    for step, head in enumerate(model.heads):
        regions = model.heads.cut(features, tubes, clips, step)
        logits, deltas, first, last = plain_head(head, regions, model.heads.context_of(features, clips, step))
        boxes, length = decode_boxes(deltas, tubes), config.chunk_length
        around = decode_boxes(first, tubes[:, :length]), decode_boxes(last, tubes[:, -length:])
        extended = extend_by_boxes(boxes, *around) if config.extends_after(step) else boxes
        tubes = keep_in_frame(extended, config.frame_size)
    return logits.sigmoid(), boxes[:, boxes.shape[1] // 2]


def plain_head(head: TwoBranchHead, regions: torch.Tensor, context: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Run a head on all frames: the classifier on each, boxes of all and of both neighbouring chunks."""
    maps = regions.transpose(1, 2).contiguous()
    for block in head.blocks:
        maps = plain_block(block, maps)
    maps = head.projection(maps).transpose(1, 2)
    logits = head.classifier(torch.cat((maps.flatten(2), context), dim=-1)).mean(1)
    local, chunk = head.local, 3
    seen = local.projection(local.blocks(torch.cat((regions, maps), dim=2).flatten(0, 1)))
    seen = seen.flatten(1).unflatten(0, regions.shape[:2])
    deltas = local.deltas(seen)
    first = deltas[:, :chunk] + local.first_deltas(seen[:, :chunk])
    return logits, deltas, first, deltas[:, -chunk:] + local.last_deltas(seen[:, -chunk:])


def plain_block(block: MixedBlock, maps: torch.Tensor) -> torch.Tensor:
    """Run the branches of a block one after the other."""
    wide, narrow = maps, maps
    for unit, other in zip(block.wide, block.narrow, strict=True):
        wide, narrow = plain_unit(unit, wide), plain_unit(other, narrow)
    around = plain_unit(block.pooled, pooled(maps, (3, 3, 3), (1, 1, 1)))
    return torch.cat((plain_unit(block.pointwise, maps), wide, narrow, around), dim=1)


def plain_unit(unit: ConvUnit, maps: torch.Tensor) -> torch.Tensor:
    """Pad, convolve, normalise, activate."""
    convolution = unit.convolution
    maps = nn.functional.pad(maps, padding_of(convolution.kernel_size, convolution.stride))
    maps = nn.functional.conv3d(maps, convolution.weight, stride=convolution.stride)
    return nn.functional.relu(unit.normalization(maps))


def pooled(maps: torch.Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> torch.Tensor:
    """Pad with zeros and take maxima."""
    return nn.functional.max_pool3d(
        nn.functional.pad(maps, padding_of(kernel, stride)), kernel, stride, ceil_mode=True
    )


def padding_of(kernel: tuple[int, ...], stride: tuple[int, ...]) -> list[int]:
    """Give the padding of all axes, the last axis first."""
    totals = [max(size - step, 0) for size, step in zip(kernel, stride, strict=True)]
    return [part for total in reversed(totals) for part in (total // 2, total - total // 2)]


if __name__ == "__main__":
    run(main)
