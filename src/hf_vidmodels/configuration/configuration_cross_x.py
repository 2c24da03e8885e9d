"""Configuration of Cross-X (Luo et al., "Cross-X Learning for Fine-Grained Visual Categorization", ICCV 2019, arXiv
1909.04412).

Numbers are those of the official code (commit 0ed68c1).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from .configuration_base import VidModelsConfig, strict_config

RESNET, SENET = "resnet", "senet"
BACKBONE_TYPES = (RESNET, SENET)
MAX_POOLING, MEAN_POOLING = "max", "avg"
PENULTIMATE_POOLINGS = (MAX_POOLING, MEAN_POOLING)
ULTIMATE, PENULTIMATE, MERGED = "ultimate", "penultimate", "merged"
NUM_STAGES = 4
# Stages whose last block gives parts; the others are plain.
PART_STAGES = (2, 3)
CUB_CLASSES = 200
# Pictures of birds and aircraft are resized to 600 x 600 and cropped to 448 x 448.
CROP_MARGIN = 600 / 448
LEAST_SIDE = 32


@dataclass(frozen=True)
class BlockPlan:
    """A bottleneck of the trunk.

    Attributes:
        in_width: channels of the map that comes.
        width: channels that it gives.
        stride: of its middle convolution.
        has_projection: whether its shortcut is a convolution; in the first block of a stage.
        num_parts: part maps that it gives beside its ordinary one; 0 for a plain block.
        excitation_width: hidden width of its excitations; 0 where it has none.
    """

    in_width: int
    width: int
    stride: int
    has_projection: bool
    num_parts: int
    excitation_width: int


@strict_config
class CrossXConfig(VidModelsConfig):
    """Sizes of the trunk and its heads, and the weights of the regularisers; the defaults are ResNet-50 for CUB.

    Without `num_labels` or `id2label` there are 200 classes.

    Args:
        image_size: side, or (height, width), that the processor crops; the network takes all sizes from 32 pixels on.
        crop_margin: sides of the resized picture over those of the crop; 600 / 448 for birds and aircraft, 1 for cars
            and dogs.
        num_channels: of the pictures; 3.
        backbone_type: `"resnet"`, or `"senet"`, whose blocks excite their channels.
        depths: blocks of the four stages.
        embedding_size: channels of the stem.
        base_width: inner channels of the first stage's blocks; they double from stage to stage.
        expansion: channels that a block gives over its inner ones.
        num_parts: part maps P of the last block of the last two stages. With 1 there are none: a plain ResNet or
            SENet with one head.
        excitation_reduction: of a ResNet, channels over the hidden width of a part's excitation, which is at least 1.
        se_reductions: the same of a SENet, by stage, in all its blocks.
        penultimate_pooling: how part maps of the last stage but one become features: `"max"` or `"avg"`.
        use_merged_head: whether the head on the merged maps of both stages takes part. Without it its layers stay in
            the model, unused and not trained, so that official checkpoints load.
        gamma_ultimate: weight of C3S on the last stage's part features.
        gamma_penultimate: the same of the last stage but one.
        gamma_merged: the same of the merged features.
        cross_layer_weight: weight of the divergences of the other heads from the ultimate one.
        batch_norm_eps: of all batch norms.
        output_part_features: give the pooled part features.
        output_part_maps: give the part maps of both stages.

    Raises:
        ValueError: from construction, when fields contradict each other.
    """

    model_type = "cross_x"
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "ultimate_logits",
        "penultimate_logits",
        "merged_logits",
        "ce",
        "c3s_ultimate",
        "c3s_penultimate",
        "c3s_merged",
        "cross_layer",
        "ultimate_features",
        "penultimate_features",
        "merged_features",
        "ultimate_maps",
        "penultimate_maps",
    ]

    image_size: int | list | tuple = 448
    crop_margin: float | int = CROP_MARGIN
    num_channels: int = 3
    backbone_type: str = RESNET
    depths: list | tuple = (3, 4, 6, 3)
    embedding_size: int = 64
    base_width: int = 64
    expansion: int = 4
    num_parts: int = 2
    excitation_reduction: int = 256
    se_reductions: list | tuple = (16, 32, 64, 128)
    penultimate_pooling: str = MAX_POOLING
    use_merged_head: bool = True
    gamma_ultimate: float | int = 0.5
    gamma_penultimate: float | int = 0.25
    gamma_merged: float | int = 0.5
    cross_layer_weight: float | int = 1.0
    batch_norm_eps: float | int = 1e-5
    output_part_features: bool = False
    output_part_maps: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        """Choose the number of classes where nothing says it."""
        if self.id2label is None:
            kwargs.setdefault("num_labels", CUB_CLASSES)
        super().__post_init__(**kwargs)

    def to_diff_dict(self) -> dict[str, Any]:
        """Write the classes even if there are two of them, which transformers takes for the default."""
        return super().to_diff_dict() | {"id2label": self.id2label, "label2id": self.label2id}

    @property
    def picture_size(self) -> tuple[int, int]:
        """(height, width) that the processor crops."""
        return (self.image_size,) * 2 if isinstance(self.image_size, int) else tuple(self.image_size)

    @property
    def resized_size(self) -> tuple[int, int]:
        """(height, width) that pictures are resized to before the crop."""
        return tuple(round(self.crop_margin * side) for side in self.picture_size)

    @property
    def stage_widths(self) -> tuple[int, ...]:
        """Channels that the four stages give."""
        return tuple(self.base_width * self.expansion * 2**stage for stage in range(NUM_STAGES))

    @property
    def has_parts(self) -> bool:
        """Whether there are several parts, and with them the other heads and the regularisers."""
        return self.num_parts > 1

    @property
    def head_names(self) -> tuple[str, ...]:
        """The heads whose logits are added."""
        if not self.has_parts:
            return (ULTIMATE,)
        return (ULTIMATE, PENULTIMATE, MERGED) if self.use_merged_head else (ULTIMATE, PENULTIMATE)

    @property
    def c3s_weights(self) -> dict[str, float]:
        """Weight of C3S on the features of each head in use; none with one part."""
        weights = {ULTIMATE: self.gamma_ultimate, PENULTIMATE: self.gamma_penultimate, MERGED: self.gamma_merged}
        return {name: weights[name] for name in self.head_names} if self.has_parts else {}

    def block_plans(self) -> list[list[BlockPlan]]:
        """Give the blocks of every stage."""
        plans, in_width = [], self.embedding_size
        for stage, (depth, width) in enumerate(zip(self.depths, self.stage_widths, strict=True)):
            blocks = []
            for number in range(depth):
                gives_parts = self.has_parts and stage in PART_STAGES and number == depth - 1
                blocks.append(
                    BlockPlan(
                        in_width=in_width,
                        width=width,
                        stride=2 if number == 0 and stage > 0 else 1,
                        has_projection=number == 0,
                        num_parts=self.num_parts if gives_parts else 0,
                        excitation_width=self._excitation_width(stage, gives_parts),
                    )
                )
                in_width = width
            plans.append(blocks)
        return plans

    def _excitation_width(self, stage: int, gives_parts: bool) -> int:
        if self.backbone_type == SENET:
            return self.stage_widths[stage] // self.se_reductions[stage]
        return max(1, self.stage_widths[stage] // self.excitation_reduction) if gives_parts else 0

    def validate_choices(self) -> None:
        """Refuse words that are none of the documented ones, and pictures of several classes."""
        for name, allowed in (
            ("backbone_type", BACKBONE_TYPES),
            ("penultimate_pooling", PENULTIMATE_POOLINGS),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {getattr(self, name)!r}")
        if self.problem_type == "multi_label_classification":
            raise ValueError(
                "problem_type must not be 'multi_label_classification': the heads are compared as distributions over "
                "classes that exclude each other"
            )

    def validate_trunk(self) -> None:
        """Refuse widths, counts and sizes of which no network can be built."""
        for name in ("embedding_size", "base_width", "expansion", "num_parts", "excitation_reduction"):
            self._require(getattr(self, name) >= 1, name, "must be at least 1")
        self._require(self.num_channels == 3, "num_channels", "must be 3 (RGB)")
        self._require(self.batch_norm_eps > 0, "batch_norm_eps", "must be positive")
        for name in ("depths", "se_reductions"):
            values = getattr(self, name)
            fits = len(values) == NUM_STAGES and all(isinstance(value, int) and value >= 1 for value in values)
            self._require(fits, name, "must be four whole numbers of at least 1, one for each stage")
        if self.has_parts and min(self.depths[stage] for stage in PART_STAGES) < 2:
            raise ValueError(
                f"depths must be at least 2 in the last two stages with num_parts={self.num_parts}, because the block "
                f"that gives parts is never the first of its stage, got {self.depths}; num_parts=1 is a plain trunk"
            )
        if self.backbone_type == SENET:
            for stage, reduction in enumerate(self.se_reductions):
                if self.stage_widths[stage] < reduction:
                    raise ValueError(
                        f"se_reductions leave an excitation of width zero in stage {stage + 1}: {reduction} for "
                        f"{self.stage_widths[stage]} channels; give at most {self.stage_widths[stage]}"
                    )

    def validate_pictures(self) -> None:
        """Refuse sizes that no picture is cropped to."""
        if not isinstance(self.image_size, int) and len(self.image_size) != 2:
            raise ValueError(f"image_size must be one number or (height, width), got {self.image_size}")
        self._require(
            min(self.picture_size) >= LEAST_SIDE, "image_size", f"must be at least {LEAST_SIDE} pixels on each side"
        )
        self._require(1 <= self.crop_margin <= 8, "crop_margin", "must be from 1 (no margin) to 8")

    def validate_weights(self) -> None:
        """Refuse negative weights of the regularisers."""
        for name in ("gamma_ultimate", "gamma_penultimate", "gamma_merged", "cross_layer_weight"):
            self._require(getattr(self, name) >= 0, name, "must not be negative")

    def _require(self, holds: bool, name: str, rule: str) -> None:
        if not holds:
            raise ValueError(f"{name} {rule}, got {getattr(self, name)}")


def _published(classes: int, pooling: str, gammas: tuple[float, float, float], **others: Any) -> dict[str, Any]:
    """Give a row of the published settings; the gammas are those of the ultimate, penultimate and merged features."""
    names = ("gamma_ultimate", "gamma_penultimate", "gamma_merged")
    margin = {} if others.pop("with_margin", True) else {"crop_margin": 1.0}
    return {
        "num_labels": classes,
        "penultimate_pooling": pooling,
        **dict(zip(names, gammas, strict=True)),
        **margin,
        **others,
    }


CrossXConfig.presets = {
    "cross_x_resnet50_cub": _published(200, "max", (0.5, 0.25, 0.5)),
    "cross_x_resnet50_nabirds": _published(555, "max", (0.5, 0.25, 0.5)),
    "cross_x_resnet50_cars": _published(196, "avg", (1.0, 0.25, 1.0), with_margin=False),
    "cross_x_resnet50_dogs": _published(120, "avg", (0.01, 0.01, 1.0), with_margin=False, use_merged_head=False),
    "cross_x_resnet50_aircraft": _published(100, "avg", (0.5, 0.1, 0.5)),
    "cross_x_senet50_nabirds": _published(555, "max", (0.1, 0.25, 0.5), backbone_type=SENET),
    "cross_x_senet50_cub": _published(200, "max", (1.0, 0.25, 1.0), backbone_type=SENET),
    "cross_x_senet50_cars": _published(196, "avg", (1.0, 0.25, 1.0), with_margin=False, backbone_type=SENET),
    "cross_x_senet50_dogs": _published(
        120, "avg", (1.0, 0.5, 1.0), with_margin=False, backbone_type=SENET, num_parts=3
    ),
    "cross_x_senet50_aircraft": _published(100, "avg", (0.5, 0.1, 0.1), backbone_type=SENET),
    "embedded-cross-x": {
        "image_size": 64,
        "crop_margin": 1.125,
        "depths": [1, 1, 2, 2],
        "embedding_size": 8,
        "base_width": 4,
        "excitation_reduction": 8,
        "se_reductions": [4, 8, 16, 32],
        "penultimate_pooling": MEAN_POOLING,
        "gamma_ultimate": 0.01,
        "gamma_penultimate": 0.01,
        "gamma_merged": 0.01,
    },
    "tiny-cross-x": {
        "image_size": 64,
        "crop_margin": 1.0,
        "depths": [1, 1, 2, 2],
        "embedding_size": 8,
        "base_width": 4,
        "excitation_reduction": 16,
        "se_reductions": [4, 8, 16, 32],
    },
}
