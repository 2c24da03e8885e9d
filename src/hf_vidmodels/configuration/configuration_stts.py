"""Configuration of STTS (Wang et al., "Efficient Video Transformers with Spatial-Temporal Token Selection", ECCV 2022,
arXiv 2111.11591).

Numbers are those of the official code at commit 6ae3404.
"""

import logging
from dataclasses import dataclass
from math import floor, isqrt
from typing import Any, ClassVar

from .configuration_backbones import Grid, MvitConfig, VideoSwinConfig
from .configuration_base import VidModelsConfig, strict_config

logger = logging.getLogger(__name__)

SELECTION_MODES = ("learned", "random", "uniform", "none")
SIGMA_SCHEDULES = ("linear", "constant")
TOPK_GRADIENTS = ("diagonal", "full")
ANCHOR_SIZINGS = ("grid", "official")

BACKBONES = {"mvit": MvitConfig, "video_swin": VideoSwinConfig}
# What the fields of the selection mean that are None by default.
DEFAULTS_OF_BACKBONE: dict[str, dict[str, Any]] = {
    "mvit": {
        "temporal_select_layers": (0,),
        "temporal_keep_ratios": (0.875,),
        "spatial_select_layers": (4,),
        "spatial_keep_ratios": (0.863,),
        "sigma": 0.1,
        "sigma_schedule": "linear",
    },
    "video_swin": {
        "temporal_select_layers": (0,),
        "temporal_keep_ratios": (0.875,),
        "spatial_select_layers": (),
        "spatial_keep_ratios": (),
        "sigma": 0.05,
        "sigma_schedule": "constant",
    },
}
KINETICS_CLASSES = 400
# Of products such as 0.29 * 100, which are whole numbers but for their last bits.
ROUNDING = 1e-9


@dataclass(frozen=True)
class SelectorPlan:
    """What one selector finds and leaves when clips have the configured size.

    Attributes:
        kind: `"temporal"` or `"spatial"`.
        layer: the block (MViT) or stage (Video Swin) before which it acts.
        place: the same in words, for messages.
        width: channels of the tokens.
        grid: (T, H, W) that comes to it.
        kept: frames that it keeps, or the side of the windows.
        anchor_stride: distance of neighbouring windows, 0 for frames.
    """

    kind: str
    layer: int
    place: str
    width: int
    grid: Grid
    kept: int
    anchor_stride: int = 0

    @property
    def output_grid(self) -> Grid:
        """(T, H, W) that goes on."""
        return (self.kept, *self.grid[1:]) if self.kind == "temporal" else (self.grid[0], self.kept, self.kept)

    @property
    def anchors_per_side(self) -> int:
        """Windows in a row of windows."""
        return (self.grid[1] - self.kept) // self.anchor_stride + 1


@strict_config
class SttsConfig(VidModelsConfig):
    """Backbone, selectors and their training; the defaults are MViT-B 16x4 with T0.9 S0.9.

    Fields that are None by default take the values of the chosen backbone's published model; without `num_labels` or
    `id2label` there are 400 classes.

    Args:
        backbone_type: `"mvit"` or `"video_swin"`; by default that of `backbone_config`, or else `"mvit"`.
        backbone_config: the backbone, a `MvitConfig` or `VideoSwinConfig` or a dict of its fields; `None` for its
            defaults, the published model. A pair (height, width) as `image_size` is for a Video Swin without spatial
            selection.
        scorer_norm_eps: of the scorers' norms.
        classifier_dropout: dropout before the classifier.
        temporal_select_layers: blocks or stages before which frames are selected.
        temporal_keep_ratios: for each of them the share of frames that is kept, in (0, 1].
        spatial_select_layers: blocks or stages before which windows are selected.
        spatial_keep_ratios: for each of them the share of a frame's tokens that is kept, in (0, 1].
        spatial_anchor_stride: distance of neighbouring windows; `None` for half of what the window leaves of the grid.
        anchor_sizing: a window's side follows from the tokens that there are (`"grid"`) or, as in the official code,
            from a count kept at construction (`"official"`), which strays from the grid after a pooling of odd sides
            and after a spatial selector; equal for all published models.
        selection_mode: `"learned"`, or at the same budget `"random"` or `"uniform"`, or `"none"` for the full network.
        num_noise_samples: perturbations that the relaxed choice averages.
        sigma: their deviation at the start of training.
        sigma_schedule: `"linear"` to 0 at the end of training, or `"constant"`.
        topk_gradient: `"diagonal"` (published) or `"full"`.
        topk_variance_reduction: bound the gradient's variance as sigma falls.

    Raises:
        ValueError: from construction, when fields contradict each other.
    """

    model_type = "stts"
    sub_configs: ClassVar = {"backbone_config": MvitConfig}
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "temporal_indices",
        "spatial_indices",
        "temporal_scores",
        "spatial_scores",
        "hidden_states",
        "attentions",
    ]

    backbone_type: str | None = None
    backbone_config: MvitConfig | VideoSwinConfig | dict | None = None
    scorer_norm_eps: float | int = 1e-5
    classifier_dropout: float | int = 0.5
    temporal_select_layers: list | tuple | None = None
    temporal_keep_ratios: list | tuple | None = None
    spatial_select_layers: list | tuple | None = None
    spatial_keep_ratios: list | tuple | None = None
    spatial_anchor_stride: int | None = None
    anchor_sizing: str = "grid"
    selection_mode: str = "learned"
    num_noise_samples: int = 500
    sigma: float | int | None = None
    sigma_schedule: str | None = None
    topk_gradient: str = "diagonal"
    topk_variance_reduction: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        """Choose the class of the backbone and fill in the selection's defaults for it."""
        self._choose_backbone()
        if self.id2label is None:
            kwargs.setdefault("num_labels", KINETICS_CLASSES)
        for name, default in DEFAULTS_OF_BACKBONE[self.backbone_type].items():
            if getattr(self, name) is None:
                setattr(self, name, default)
        super().__post_init__(**kwargs)

    def _choose_backbone(self) -> None:
        """Let `backbone_type` and the `model_type` of `backbone_config` say the same, whichever was given."""
        given = self.backbone_config
        model_type = given.get("model_type") if isinstance(given, dict) else getattr(given, "model_type", None)
        if self.backbone_type is None:
            types = {config_class.model_type: name for name, config_class in BACKBONES.items()}
            self.backbone_type = types.get(model_type, "mvit")
        if self.backbone_type not in BACKBONES:
            raise ValueError(
                f"backbone_type must be one of {', '.join(map(repr, BACKBONES))}, got {self.backbone_type!r}"
            )
        fitting = BACKBONES[self.backbone_type].model_type
        if model_type is None:
            self.backbone_config = {**(given or {}), "model_type": fitting}
        elif model_type != fitting:
            raise ValueError(
                f"backbone_type {self.backbone_type!r} needs a backbone_config of model_type {fitting!r}, got "
                f"{model_type!r}; leave one of the two out"
            )

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of a frame in pixels."""
        return self.backbone_config.frame_size

    @property
    def has_selection(self) -> bool:
        """Whether anything is left out of the network."""
        return self.selection_mode != "none" and bool(self.temporal_select_layers or self.spatial_select_layers)

    def to_diff_dict(self) -> dict[str, Any]:
        """Write the classes even if there are two of them, which transformers takes for the default."""
        return super().to_diff_dict() | {"id2label": self.id2label, "label2id": self.label2id}

    def sigma_at(self, progress: float) -> float:
        """Give the noise level after a share of training, `progress` in [0, 1].

        Raises:
            ValueError: for a progress outside [0, 1].
        """
        if not 0 <= progress <= 1:
            raise ValueError(f"progress must be in [0, 1], the share of training steps already made, got {progress}")
        return self.sigma * (1 - progress) if self.sigma_schedule == "linear" else float(self.sigma)

    def selector_plans(self) -> list[SelectorPlan]:
        """Give the selectors in the order in which they act; none in mode `"none"`.

        Raises:
            ValueError: for a ratio that keeps nothing, and for windows of a grid that is no square.
        """
        return _plan_selectors(self) if self.has_selection else []

    def validate_choices(self) -> None:
        """Refuse words that are none of the documented ones."""
        for name, allowed in (
            ("selection_mode", SELECTION_MODES),
            ("sigma_schedule", SIGMA_SCHEDULES),
            ("topk_gradient", TOPK_GRADIENTS),
            ("anchor_sizing", ANCHOR_SIZINGS),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {getattr(self, name)!r}")

    def validate_numbers(self) -> None:
        """Refuse noise, strides and rates outside their ranges."""
        if self.num_noise_samples < 1:
            raise ValueError(f"num_noise_samples must be 1 or more, got {self.num_noise_samples}")
        if not self.sigma >= 0:
            raise ValueError(f"sigma must be 0 or more, got {self.sigma}")
        if self.spatial_anchor_stride is not None and self.spatial_anchor_stride < 1:
            raise ValueError(f"spatial_anchor_stride must be positive or None, got {self.spatial_anchor_stride}")
        if not 0 <= self.classifier_dropout < 1:
            raise ValueError(f"classifier_dropout must be in [0, 1), got {self.classifier_dropout}")

    def validate_selection(self) -> None:
        """Refuse selectors outside the network, doubled, or with ratios that keep nothing."""
        is_mvit, backbone = self.backbone_type == "mvit", self.backbone_config
        depth = backbone.num_hidden_layers if is_mvit else len(backbone.depths)
        unit = "block" if is_mvit else "stage"
        for kind in ("temporal", "spatial"):
            layers, ratios = getattr(self, f"{kind}_select_layers"), getattr(self, f"{kind}_keep_ratios")
            if len(layers) != len(ratios):
                raise ValueError(
                    f"{kind}_select_layers and {kind}_keep_ratios must have the same length, got {len(layers)} and "
                    f"{len(ratios)}"
                )
            if sorted(set(layers)) != list(layers):
                raise ValueError(f"{kind}_select_layers must ascend without repetition, got {list(layers)}")
            for layer, ratio in zip(layers, ratios, strict=True):
                if not 0 <= layer < depth:
                    raise ValueError(
                        f"{kind}_select_layers names {unit} {layer}, but the network has {unit}s 0..{depth - 1}"
                    )
                if not 0 < ratio <= 1:
                    raise ValueError(f"the {kind} keep ratio before {unit} {layer} must be in (0, 1], got {ratio}")
        for plan in self.selector_plans():
            scored_width = plan.width * (2 if plan.kind == "temporal" else 1)
            if self.selection_mode == "learned" and scored_width % 4:
                raise ValueError(
                    f"the {plan.kind} scorer before {plan.place} would have width {scored_width}, which must be a "
                    "multiple of 4; change hidden_size or the layer"
                )
        self._warn_of_padded_windows()

    def _warn_of_padded_windows(self) -> None:
        """Say when attention would work on many more frames than are kept."""
        if self.backbone_type != "video_swin":
            return
        window = self.backbone_config.window_size[0]
        frames = [plan.kept for plan in self.selector_plans() if plan.kind == "temporal"]
        if frames and frames[-1] > window and frames[-1] % window:
            logger.warning(
                "a Video Swin with windows of %d frames keeps %d frames, which attention pads to %d; %d would cost "
                "much less",
                window,
                frames[-1],
                -(-frames[-1] // window) * window,
                frames[-1] // window * window,
            )


def anchor_stride(grid_side: int, side: int) -> int:
    """Give the distance of neighbouring windows of `side` on a grid: half of what a window leaves, at least 1."""
    return max((grid_side - side) // 2, 1)


def kept_number(count: int, ratio: float) -> int:
    """Give floor(count * ratio)."""
    return floor(count * ratio + ROUNDING)


def _plan_selectors(config: SttsConfig) -> list[SelectorPlan]:
    temporal = dict(zip(config.temporal_select_layers, config.temporal_keep_ratios, strict=True))
    spatial = dict(zip(config.spatial_select_layers, config.spatial_keep_ratios, strict=True))
    backbone = config.backbone_config
    is_mvit = isinstance(backbone, MvitConfig)
    unit = "block" if is_mvit else "stage"
    time_stride = (backbone.patch_stride if is_mvit else backbone.patch_size)[0]
    grid, frames = backbone.patch_grid, backbone.num_frames // time_stride
    counted = grid[1] * grid[2]
    layers = backbone.block_plans() if is_mvit else range(len(backbone.depths))
    plans = []
    for layer, block in enumerate(layers):
        place = f"{unit} {layer}"
        width = block.width if is_mvit else backbone.stage_widths[layer]
        if is_mvit and block.query_pooling is not None:
            # The official code sizes a selector after the pooling of the block that it acts before.
            counted = _pooled_count(counted, block.query_pooling.stride)
        if layer in temporal:
            kept = kept_number(frames, temporal[layer])
            if kept < 1:
                raise ValueError(
                    f"the temporal selector before {place} would keep no frame: ratio {temporal[layer]} of {frames}; "
                    f"use at least {1 / frames:.4f}"
                )
            plans.append(SelectorPlan("temporal", layer, place, width, grid, kept))
            grid, frames = plans[-1].output_grid, kept
        if layer in spatial:
            plan, counted = _plan_windows(config, layer, place, width, grid, counted, spatial[layer])
            plans.append(plan)
            grid = plan.output_grid
        if is_mvit:
            grid = block.output_grid(grid)
        elif layer + 1 < len(backbone.depths):
            grid = (grid[0], (grid[1] + 1) // 2, (grid[2] + 1) // 2)
            counted //= 4
    return plans


def _plan_windows(
    config: SttsConfig, layer: int, place: str, width: int, grid: Grid, counted: int, ratio: float
) -> tuple[SelectorPlan, int]:
    """Plan a spatial selector; also give the official count of tokens after it."""
    if grid[1] != grid[2]:
        raise ValueError(
            f"the spatial selector before {place} needs a square grid, but frames of "
            f"{config.backbone_config.image_size} pixels give {grid[1]} x {grid[2]} tokens; use a square image_size"
        )
    tokens = counted if config.anchor_sizing == "official" else grid[1] * grid[2]
    side = isqrt(kept_number(tokens, ratio))
    if side < 1:
        raise ValueError(
            f"the spatial selector before {place} would keep no token: ratio {ratio} of {tokens} per frame; use at "
            f"least {1 / tokens:.4f}"
        )
    if side > grid[1]:
        raise ValueError(
            f"the spatial selector before {place} would keep windows of {side} x {side} tokens of a grid of {grid[1]} "
            f"x {grid[2]}; use a smaller ratio than {ratio}, or anchor_sizing='grid'"
        )
    stride = config.spatial_anchor_stride or anchor_stride(grid[1], side)
    return SelectorPlan("spatial", layer, place, width, grid, side, stride), kept_number(counted, ratio)


def _pooled_count(tokens: int, stride: Grid) -> int:
    side = isqrt(tokens)
    return (side // stride[1]) * (side // stride[2]) if side**2 == tokens else tokens // (stride[1] * stride[2])


_NO_SELECTION = {
    "temporal_select_layers": (),
    "temporal_keep_ratios": (),
    "spatial_select_layers": (),
    "spatial_keep_ratios": (),
}
_TINY_MVIT = {
    "backbone_config": {
        "num_frames": 8,
        "image_size": 32,
        "hidden_size": 8,
        "num_hidden_layers": 4,
        "dim_mul": ((1, 2.0), (3, 2.0)),
        "head_mul": ((1, 2.0), (3, 2.0)),
        "pool_q_stride": ((1, 1, 2, 2),),
        "pool_kv_stride_adaptive": (1, 4, 4),
        "drop_path_rate": 0.0,
    },
    "temporal_keep_ratios": (0.5,),
    "spatial_select_layers": (2,),
    "spatial_keep_ratios": (0.6,),
    "classifier_dropout": 0.0,
}
# For the embedded corpora: learned from scratch in minutes on a CPU.
_EMBEDDED_MVIT = {
    "backbone_config": {
        "image_size": 64,
        "patch_size": (2, 8, 8),
        "patch_stride": (2, 8, 8),
        "patch_padding": (0, 0, 0),
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "dim_mul": ((2, 2.0),),
        "head_mul": ((2, 2.0),),
        "pool_q_stride": ((2, 1, 2, 2),),
        "pool_kv_stride_adaptive": (1, 1, 1),
        "pool_kv_kernel": {0: (1, 1, 1), 1: (1, 1, 1), 2: (1, 1, 1), 3: (1, 1, 1)},
        "initializer_range": 0.15,
        "drop_path_rate": 0.0,
    },
    "temporal_keep_ratios": (0.625,),
    "spatial_select_layers": (1,),
    "spatial_keep_ratios": (0.77,),
    "num_noise_samples": 100,
    "classifier_dropout": 0.0,
}
_TINY_SWIN = {
    "backbone_config": {
        "num_frames": 8,
        "image_size": 32,
        "hidden_size": 8,
        "depths": (2, 2),
        "num_attention_heads": (1, 2),
        "window_size": (2, 3, 3),
        "drop_path_rate": 0.0,
    },
    "temporal_keep_ratios": (0.5,),
    "classifier_dropout": 0.0,
}


def _mvit_preset(temporal_ratio: float, spatial_ratio: float) -> dict[str, Any]:
    return {"temporal_keep_ratios": (temporal_ratio,), "spatial_keep_ratios": (spatial_ratio,)}


def _full_swin(size: str) -> dict[str, Any]:
    return {"backbone_type": "video_swin", "backbone_config": VideoSwinConfig.presets[size], **_NO_SELECTION}


def _swin_preset(temporal_ratio: float) -> dict[str, Any]:
    return {"backbone_type": "video_swin", "temporal_keep_ratios": (temporal_ratio,)}


SttsConfig.presets = {
    "mvit-b-16x4": dict(_NO_SELECTION),
    "mvit-b-32x3": {"backbone_config": MvitConfig.presets["mvit-b-32x3"], **_NO_SELECTION},
    "mvit-b-16x4-t0.9-s0.9": _mvit_preset(0.875, 0.863),
    "mvit-b-16x4-t0.8-s0.9": _mvit_preset(0.75, 0.863),
    "mvit-b-16x4-t0.6-s0.9": _mvit_preset(0.625, 0.863),
    "mvit-b-16x4-t0.5-s0.7": _mvit_preset(0.5, 0.7367),
    "mvit-b-16x4-t0.4-s0.6": _mvit_preset(0.375, 0.6174),
    "video-swin-t-32x2": _full_swin("video-swin-t"),
    "video-swin-s-32x2": _full_swin("video-swin-s"),
    "video-swin-b-32x2": _full_swin("video-swin-b"),
    "video-swin-b-32x2-t0.9": _swin_preset(0.875),
    "video-swin-b-32x2-t0.8": _swin_preset(0.75),
    "video-swin-b-32x2-t0.6": _swin_preset(0.625),
    "video-swin-b-32x2-t0.5": _swin_preset(0.5625),
    "video-swin-b-32x2-t0.4": _swin_preset(0.375),
    "video-swin-b-32x2-k8": _swin_preset(0.5),
    "embedded-mvit": _EMBEDDED_MVIT,
    "tiny-mvit": _TINY_MVIT,
    "tiny-video-swin": {"backbone_type": "video_swin", **_TINY_SWIN},
}
