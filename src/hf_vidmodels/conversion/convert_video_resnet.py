"""Published residual video networks as `VideoResNetForVideoClassification` or `...ForActionDetection`.

Read are files of pytorchvideo, of the SlowFast repository (also the Caffe2 pickles), of mmaction2, and 2D ResNets of
torchvision, which are inflated where the network asks for temporal kernels. Depth, widths, kernels, non-local blocks
and the fusion of SlowFast follow from the weights; options say the rest (strides, pooling of the head, alpha).
"""

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from ..configuration.configuration_video_resnet import (
    ARCHITECTURES,
    NUM_STAGES,
    POOLED_ARCHITECTURES,
    TEMPORAL_KERNELS,
    VideoResNetConfig,
)
from ..modeling.modeling_video_resnet import VideoResNetForActionDetection, VideoResNetForVideoClassification
from .caffe2_pickles import read_caffe2_weights
from .official_checkpoints import load_strictly, read_state_dict
from .video_resnet_layouts import RenamedWeights, rename_weights

# Kernel of the lateral connections of every published network with alpha 4 only; 5 goes with 4 and with 8.
KERNEL_OF_ALPHA_4 = 7
OWN_FIELDS = {field.name for field in fields(VideoResNetConfig)} | {"num_labels"}
COUNTER = ".num_batches_tracked"


def convert_video_resnet(
    checkpoint: str | os.PathLike[str] | Mapping[str, Any], official_config: Mapping[str, Any]
) -> VideoResNetForVideoClassification | VideoResNetForActionDetection:
    """Convert one network.

    Args:
        checkpoint: a file or a state dict of one of the layouts above; Caffe2's files end in `.pkl`.
        official_config: options by their official names, of the SlowFast repository flat (`"MODEL.ARCH"`) or nested.
            Fields of `VideoResNetConfig` may stand beside them and win, for example `arch` to inflate a 2D network.

    Returns:
        The model in evaluation mode; a detector when the options or the names say so (`DETECTION.ENABLE`).

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: weights of an unknown layout, options that contradict the weights (the message names key, both
            shapes and the field that would fit), or weights left over on either side.
    """
    options = _flat(official_config)
    renamed = rename_weights(_read(checkpoint))
    config = _config_of(renamed, options)
    is_detector = bool(options.get("DETECTION.ENABLE")) or "detection_head.proj.weight" in set(
        renamed.official_names.values()
    )
    model = (VideoResNetForActionDetection if is_detector else VideoResNetForVideoClassification)(config)
    prefix = "" if is_detector else "head."
    weights, names = {}, {}
    for name, value in renamed.weights.items():
        ours = prefix + name if name.startswith("classifier.") else name
        weights[ours], names[ours] = value, renamed.official_names[name]
    wanted = model.state_dict()
    _fill_counters(weights, names, wanted)
    inflated = {name: _inflated(value, wanted[name]) if name in wanted else value for name, value in weights.items()}
    _check_shapes(inflated, names, wanted, config)
    load_strictly(model, inflated, names)
    return model.eval()


def inflate(weight: torch.Tensor, num_frames: int) -> torch.Tensor:
    """Spread a 2D kernel (O, I, h, w) over frames, (O, I, t, h, w), so that still pictures give what they gave.

    Source: Carreira and Zisserman, CVPR 2017, section 2.4.
    """
    return weight[:, :, None].expand(-1, -1, num_frames, -1, -1) / num_frames


def _read(checkpoint: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, torch.Tensor]:
    if isinstance(checkpoint, str | os.PathLike) and Path(checkpoint).suffix == ".pkl":
        path = Path(checkpoint)
        if not path.is_file():
            raise FileNotFoundError(f"the checkpoint file {path} does not exist")
        return read_caffe2_weights(path)
    return read_state_dict(checkpoint)


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in options.items():
        nested = isinstance(value, Mapping) and name not in ("id2label", "label2id", "slowfast_repository_options")
        found |= _flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return found


def _config_of(renamed: RenamedWeights, options: Mapping[str, Any]) -> VideoResNetConfig:
    """Read the configuration from the weights, what they leave open from the options."""
    settings = _shapes(renamed)
    kernels = settings.pop("temporal_kernel_sizes")
    is_flat = all(value.dim() == 4 for name, value in renamed.weights.items() if name.endswith("convolution.weight"))
    options_arch = str(options.get("MODEL.ARCH", options.get("arch", ""))).removesuffix("_nopool").removesuffix("_nln")
    if options_arch and options_arch not in ARCHITECTURES:
        raise ValueError(f"MODEL.ARCH or arch must be one of {', '.join(ARCHITECTURES)}, got {options_arch!r}")
    has_pool = renamed.layout.has_res2_pool
    if has_pool is None:
        has_pool = options_arch in POOLED_ARCHITECTURES and not str(options.get("MODEL.ARCH", "")).endswith("_nopool")
    if "arch" not in settings:
        settings["arch"] = options_arch or _arch_of(kernels, settings["depths"], has_pool)
    if settings["arch"] != "r2plus1d":
        settings["res2_pool"] = has_pool
    if not is_flat and kernels != _expanded(TEMPORAL_KERNELS[settings["arch"]], settings["depths"]):
        settings["temporal_kernel_sizes"] = kernels
    settings |= _option_fields(options, settings["arch"], renamed)
    settings |= {name: value for name, value in options.items() if name in OWN_FIELDS}
    return VideoResNetConfig(**settings)


def _shapes(renamed: RenamedWeights) -> dict[str, Any]:
    """Give the fields that the shapes of the weights tell."""
    weights = renamed.weights
    stem = _weight(renamed, "backbone.pathways.0.stem.convolution.weight")
    depths = [
        sum(f"backbone.pathways.0.stages.{stage}.{block}.expand.convolution.weight" in weights for block in range(48))
        for stage in range(NUM_STAGES)
    ]
    is_factorised = "backbone.pathways.0.stages.0.0.temporal.convolution.weight" in weights
    found: dict[str, Any] = {
        "embedding_size": stem.shape[0],
        "num_channels": stem.shape[1],
        "depths": depths,
        "temporal_kernel_sizes": _kernels(renamed, 0, depths, is_factorised),
        "num_labels": len(_weight(renamed, "classifier.weight")),
    }
    places = [name.split(".")[4] for name in weights if ".nonlocal_blocks." in name and name.endswith("query.weight")]
    stages = [
        [int(block) for stage, block in (place.split("_") for place in places) if int(stage) == number]
        for number in range(1, NUM_STAGES + 1)
    ]
    found["nonlocal_blocks"] = [sorted(blocks) for blocks in stages]
    if is_factorised:
        return found | {"arch": "r2plus1d"}
    if "backbone.pathways.1.stem.convolution.weight" in weights:
        fast = weights["backbone.pathways.1.stem.convolution.weight"]
        lateral = _weight(renamed, "backbone.laterals.0.convolution.weight")
        if stem.shape[0] % fast.shape[0]:
            raise ValueError(
                f"the slow pathway's stem has {stem.shape[0]} channels and the fast one's {fast.shape[0]}; the first "
                "must be a multiple (beta_inv) of the second"
            )
        found |= {
            "arch": "slowfast",
            "beta_inv": stem.shape[0] // fast.shape[0],
            "fusion_kernel_size": lateral.shape[2],
            "fusion_channel_ratio": lateral.shape[0] // fast.shape[0],
            "fusion_norm": "backbone.laterals.0.normalization.weight" in weights,
            "fast_temporal_kernel_sizes": _kernels(renamed, 1, depths, is_factorised=False),
        }
    return found


def _weight(renamed: RenamedWeights, name: str) -> torch.Tensor:
    if name not in renamed.weights:
        raise ValueError(f"the checkpoint of {renamed.layout.name} lacks the weight that we call {name}")
    return renamed.weights[name]


def _kernels(renamed: RenamedWeights, pathway: int, depths: list[int], is_factorised: bool) -> list[list[int]]:
    """Read the temporal kernels of stem and blocks; 1 for 2D weights."""
    prefix = f"backbone.pathways.{pathway}"
    part = "temporal" if is_factorised else "reduce"

    def frames(name: str) -> int:
        weight = _weight(renamed, name)
        return weight.shape[2] if weight.dim() == 5 else 1

    rows = [
        [frames(f"{prefix}.stages.{stage}.{block}.{part}.convolution.weight") for block in range(depth)]
        for stage, depth in enumerate(depths)
    ]
    return [[frames(f"{prefix}.stem.convolution.weight")], *rows]


def _expanded(rows: tuple[tuple[int, ...], ...], depths: list[int]) -> list[list[int]]:
    return [
        list(rows[0]),
        *([row[block % len(row)] for block in range(depth)] for row, depth in zip(rows[1:], depths, strict=True)),
    ]


def _arch_of(kernels: list[list[int]], depths: list[int], has_pool: bool) -> str:
    """Name the architecture that has these kernels; Slow where none has exactly them."""
    candidates = POOLED_ARCHITECTURES if has_pool else ("r2d", "slow", "slow_i3d")
    fitting = [name for name in candidates if _expanded(TEMPORAL_KERNELS[name], depths) == kernels]
    return fitting[0] if fitting else ("i3d" if has_pool else "slow")


def _option_fields(options: Mapping[str, Any], arch: str, renamed: RenamedWeights) -> dict[str, Any]:
    """Translate the options of all projects that shape the network or its head."""
    found: dict[str, Any] = {}
    for option, field in (
        ("DATA.NUM_FRAMES", "num_frames"),
        ("DATA.TRAIN_CROP_SIZE", "image_size"),
        ("MODEL.DROPOUT_RATE", "classifier_dropout"),
        ("dropout_rate", "classifier_dropout"),
        ("NONLOCAL.INSTANTIATION", "nonlocal_instantiation"),
        ("SLOWFAST.ALPHA", "alpha"),
        ("num_segments", "num_frames"),
        ("DETECTION.ALIGNED", "roi_aligned"),
        ("stage_spatial_h_stride", "spatial_strides"),
        ("stage_spatial_stride", "spatial_strides"),
        ("stage_temporal_stride", "temporal_strides"),
        ("stage_conv_b_dilation", "spatial_dilations"),
    ):
        if option in options:
            found[field] = options[option]
    for option, field in (
        ("RESNET.SPATIAL_STRIDES", "spatial_strides"),
        ("RESNET.SPATIAL_DILATIONS", "spatial_dilations"),
        ("stage_spatial_strides", "spatial_strides"),
        ("stage_spatial_dilations", "spatial_dilations"),
    ):
        if option in options:
            found[field] = [row[0] if isinstance(row, list | tuple) else row for row in options[option]]
    for option, field in (("NONLOCAL.POOL", "nonlocal_pool_size"), ("NONLOCAL.GROUP", "nonlocal_groups")):
        if option in options:
            values = [row[0] for row in options[option]]
            used = [value for value, blocks in zip(values, _nonlocal_stages(renamed), strict=True) if blocks]
            if any(value != used[0] for value in used):
                raise ValueError(f"{option} must be the same in all stages with non-local blocks, got {used}")
            if used:
                found[field] = used[0] or [1, 1, 1]
    _detection_defaults(found, options, renamed)
    if arch == "slowfast" and "alpha" not in options:
        found["alpha"] = _alpha(options, found, renamed)
    return found | _head_fields(options, arch, renamed, found)


def _nonlocal_stages(renamed: RenamedWeights) -> list[bool]:
    return [
        any(f".nonlocal_blocks.{stage}_" in name for name in renamed.weights) for stage in range(1, NUM_STAGES + 1)
    ]


def _detection_defaults(found: dict[str, Any], options: Mapping[str, Any], renamed: RenamedWeights) -> None:
    """Detectors of pytorchvideo widen their last stage instead of striding, without an option that says so."""
    if "detection_head.proj.weight" in renamed.official_names.values():
        found.setdefault("spatial_strides", [1, 2, 2, 1])
        found.setdefault("spatial_dilations", [1, 1, 1, 2])
        found.setdefault("roi_aligned", bool(options.get("head_aligned", False)))
        found["problem_type"] = "multi_label_classification"


def _alpha(options: Mapping[str, Any], found: Mapping[str, Any], renamed: RenamedWeights) -> int:
    if "alpha" in found:
        return found["alpha"]
    if "slowfast_fusion_conv_stride" in options:
        return options["slowfast_fusion_conv_stride"][0]
    kernel = renamed.weights["backbone.laterals.0.convolution.weight"].shape[2]
    if kernel == KERNEL_OF_ALPHA_4:
        return 4
    raise ValueError(
        f"weights do not tell alpha, the frames of the fast pathway for one of the slow (kernel {kernel} goes with 4 "
        "and with 8): give SLOWFAST.ALPHA, or alpha"
    )


def _head_fields(
    options: Mapping[str, Any], arch: str, renamed: RenamedWeights, found: Mapping[str, Any]
) -> dict[str, Any]:
    """Give pooling and averaging of the head, and the clip that its window was made for."""
    head: dict[str, Any] = {}
    if options.get("MODEL.HEAD_ACT") == "sigmoid" or options.get("DETECTION.ENABLE"):
        head["problem_type"] = "multi_label_classification"
    if renamed.layout.name.startswith("SlowFast"):
        return head | {"head_pooling": "window", "head_average": "probabilities"}
    window = options.get("head_pool_kernel_size") or (options.get("head_pool_kernel_sizes") or [None])[-1]
    if renamed.layout.name == "pytorchvideo" and window is not None:
        frames, rows, columns = window
        if rows != columns:
            raise ValueError(f"head_pool_kernel_size must have as many rows as columns, got {window}")
        stride = 2 if renamed.layout.has_res2_pool else 4 if arch == "r2plus1d" else 1
        reduction = 16 if found.get("spatial_strides", [0])[-1] == 1 else 32
        average = "probabilities" if arch == "r2plus1d" else "logits"
        head |= {"head_pooling": "window", "head_average": average}
        head |= {"num_frames": frames * stride, "image_size": rows * reduction}
    return head


def _fill_counters(
    weights: dict[str, torch.Tensor], names: dict[str, str], wanted: Mapping[str, torch.Tensor]
) -> None:
    """Give norms the counter of their batches where an old file or Caffe2 has none; nothing is computed from it."""
    for name, value in wanted.items():
        if name.endswith(COUNTER) and name not in weights:
            weights[name], names[name] = torch.zeros_like(value), name


def _inflated(value: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return inflate(value, wanted.shape[2]) if value.dim() == 4 and wanted.dim() == 5 else value


def _check_shapes(
    weights: Mapping[str, torch.Tensor],
    names: Mapping[str, str],
    wanted: Mapping[str, torch.Tensor],
    config: VideoResNetConfig,
) -> None:
    """Refuse a weight of another shape, saying which field would fit."""
    for name, value in weights.items():
        if name in wanted and value.shape != wanted[name].shape:
            there, ours = tuple(value.shape), tuple(wanted[name].shape)
            raise ValueError(
                f"{names[name]} has shape {there} but the configuration asks for {ours}: "
                f"{_fitting_field(name, there, ours, config)}"
            )


def _fitting_field(name: str, there: tuple[int, ...], ours: tuple[int, ...], config: VideoResNetConfig) -> str:
    """Name the field that shapes a weight, with the value that would fit where the shape tells it."""
    if "classifier." in name:
        return f"num_labels={there[0]} would fit" if there[0] != ours[0] else "another embedding_size would fit"
    if ".laterals." in name:
        if len(there) == 5 and there[2] != ours[2]:
            return f"fusion_kernel_size={there[2]} would fit"
        return "another fusion_channel_ratio or beta_inv would fit"
    if len(there) == 5 and there[2] != ours[2]:
        return f"a temporal kernel of {there[2]} would fit, by arch or temporal_kernel_sizes"
    if len(there) == 5 and there[1] != ours[1] and ".stem." in name:
        return f"num_channels={there[1]} would fit"
    if ".pathways.1." in name:
        return f"another beta_inv than {config.beta_inv} would fit"
    return f"another embedding_size than {config.embedding_size} would fit"
