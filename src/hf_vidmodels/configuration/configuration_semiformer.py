"""Configuration of Semiformer (Weng et al., "Semi-Supervised Vision Transformers", ECCV 2022, arXiv 2111.11067).

Numbers are those of the official code (commit 0e3b5be) and its scripts.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from .configuration_base import VidModelsConfig, strict_config

CONV, TRANSFORMER, BOTH = "conv", "transformer", "both"
STREAMS = (BOTH, CONV, TRANSFORMER)
CONV_STREAMS = ("bottleneck", "convmixer")
PREDICTION_HEADS = ("sum", CONV, TRANSFORMER, "softmax_sum")
CONSISTENCY_LOSSES = (None, "triplet", "infonce")
CONSISTENCY_ANCHORS = ("weak", "strong", "both")
CONSISTENCY_DISTANCES = ("cosine", "l2")
IMAGENET_CLASSES = 1000
# The stem halves the picture twice.
STEM_STRIDE = 4
NUM_STAGES = 3
# The official ConvMixer network has this many blocks whatever its depth, which only spaces the drop-path rates.
CONVMIXER_BLOCKS, LEAST_CONVMIXER_DEPTH = 11, 12


@dataclass(frozen=True)
class VoteRule:
    """How two heads agree on a pseudo-label. A head votes when its confidence reaches the threshold.

    Attributes:
        official: name in the official code.
        only_conv: weight of the convolution head's class when that head alone votes.
        only_transformer: the same of the transformer head.
        different: weight when both vote for different classes; for equal ones it is 1.
        taken: whose class is taken then: `"conv"` or that of the `"larger"` confidence.
    """

    official: str
    only_conv: float
    only_transformer: float
    different: float
    taken: str


VOTE_RULES = {
    "vote_agreed": VoteRule("Vote_equal", 1.0, 1.0, 0.0, CONV),
    "vote_conv": VoteRule("Vote_cnnBias", 1.0, 1.0, 1.0, CONV),
    "vote_larger": VoteRule("Vote_larger", 1.0, 1.0, 1.0, "larger"),
    "conv_larger": VoteRule("Vote_larger2", 1.0, 0.0, 1.0, "larger"),
    "conv_agreed": VoteRule("Vote_equal2", 1.0, 0.0, 0.0, CONV),
    "weighted_1": VoteRule("weight_v1", 1.0, 0.0, 0.5, "larger"),
    "weighted_2": VoteRule("weight_v2", 1.0, 0.5, 0.5, "larger"),
    "weighted_3": VoteRule("weight_v3", 0.5, 0.0, 0.5, "larger"),
    "weighted_4": VoteRule("weight_v4", 0.5, 0.5, 0.5, "larger"),
    "weighted_5": VoteRule("weight_v5", 0.5, 0.0, 0.5, CONV),
    "weighted_6": VoteRule("weight_v6", 1.0, 0.0, 0.5, CONV),
}
SIMPLE_SOURCES = {
    CONV: "cnn",
    TRANSFORMER: "transformer",
    "mean_logits": "fuse",
    "mean_probabilities": "softmax_fuse",
}
PSEUDO_LABEL_SOURCES = (*SIMPLE_SOURCES, *VOTE_RULES)
OFFICIAL_SOURCES = {official: name for name, official in SIMPLE_SOURCES.items()} | {
    rule.official: name for name, rule in VOTE_RULES.items()
}


@dataclass(frozen=True)
class BlockPlan:
    """A block in which the two streams meet.

    Attributes:
        in_width: channels of the map that comes.
        width: channels inside.
        stride: of its first convolution block.
        last_stride: of its second one, which has a projection where this is not 1.
        ratio: sides of the map, inside, over those of the grid of tokens.
        drop_path_rate: of its transformer block.
    """

    in_width: int
    width: int
    stride: int
    last_stride: int
    ratio: int
    drop_path_rate: float


@strict_config
class SemiformerConfig(VidModelsConfig):
    """Sizes of the two streams, and how they learn from pictures without labels; the defaults are the small model.

    Without `num_labels` or `id2label` there are 1000 classes.

    Args:
        image_size: side, or (height, width), that the processor makes; the network takes all sizes that `takes_side`.
        num_channels: of the pictures; 3.
        patch_size: pixels from one token to the next, a multiple of 16 where there is a convolution stream; 16 with a
            ConvMixer.
        hidden_size: width of the tokens.
        num_hidden_layers: transformer blocks, a multiple of 3.
        num_attention_heads: heads of each attention.
        mlp_ratio: width of an MLP's hidden layer over that of the tokens.
        qkv_bias: whether queries, keys and values have a bias.
        qk_scale: factor of the products of queries and keys; `None` (or 0) for the usual one.
        hidden_act: activation of MLPs.
        hidden_dropout_prob: dropout after attention and in MLPs.
        attention_probs_dropout_prob: dropout of attention probabilities.
        drop_path_rate: chance that a branch of the last transformer block is left out; linear from 0 at the first.
        layer_norm_eps: of the layer norms in blocks and down units.
        final_layer_norm_eps: of the one before the transformer head.
        streams: `"both"` (the method), or one alone, for comparison: `"conv"`, or `"transformer"`, which is then a
            plain vision transformer with patches of pixels.
        conv_stream: `"bottleneck"` (as in ResNets) or `"convmixer"`.
        stem_channels: channels of the stem.
        conv_base_channels: `conv_base_channels` x `conv_channel_ratio` are the first stage's channels, which double
            twice.
        conv_channel_ratio: see there.
        num_med_blocks: convolution blocks in the middle of each block.
        stem_batch_norm_eps: of the batch norm in the stem.
        batch_norm_eps: of bottleneck blocks and up units.
        convmixer_dim: channels of a ConvMixer stream.
        convmixer_kernel_size: of its depthwise convolutions, odd.
        convmixer_patch_size: pixels from one cell of its map to the next; 8.
        convmixer_batch_norm_eps: of its batch norms.
        use_fusion: whether the streams exchange features; without, the units stay unused.
        use_position_embeddings: add learned positions to the tokens; they belong to `image_size`.
        interpolate_position_embeddings: resize them (bicubic) for pictures of another size (ours).
        initializer_range: deviation of initial linear layers, class token and positions.
        prediction_head: what `logits` are: `"sum"` of both heads', `"conv"`, `"transformer"`, or `"softmax_sum"`, the
            logarithm of the mean of both heads' probabilities.
        pseudo_label_source: who labels pictures without labels, see `PSEUDO_LABEL_SOURCES`; official names are taken
            too. `None` for `"conv"`, or the only stream.
        pseudo_label_threshold: least confidence of a pseudo-label.
        pseudo_label_temperature: logits are divided by it before the confidence is looked at.
        unlabeled_loss_weight: weight of the loss on pictures without labels (lambda).
        label_smoothing: share of a target that is spread over all classes.
        unlabeled_label_smoothing: the same of pseudo-labels.
        head_loss_weights: of the convolution and the transformer head's loss on labelled pictures.
        unlabeled_head_loss_weights: the same on pictures without labels.
        consistency_loss: further loss between the features of both views: `"triplet"`, `"infonce"` or `None`.
        consistency_loss_weight: its weight.
        consistency_margin: of triplets.
        consistency_temperature: of InfoNCE.
        consistency_anchor: view that the others are compared with: `"weak"`, `"strong"`, or `"both"` in turn.
        consistency_distance: of triplets: `"cosine"` or `"l2"`.

    Raises:
        ValueError: from construction, when fields contradict each other.
    """

    model_type = "semiformer"
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "conv_logits",
        "transformer_logits",
        "conv_features",
        "transformer_features",
        "conv_loss",
        "transformer_loss",
        "unlabeled_conv_loss",
        "unlabeled_transformer_loss",
        "consistency_loss",
        "pseudo_labels",
        "pseudo_weights",
        "mask_ratio",
        "hidden_states",
        "conv_hidden_states",
        "attentions",
    ]

    image_size: int | list | tuple = 224
    num_channels: int = 3
    patch_size: int = 16
    hidden_size: int = 384
    num_hidden_layers: int = 12
    num_attention_heads: int = 6
    mlp_ratio: float | int = 4.0
    qkv_bias: bool = True
    qk_scale: float | int | None = None
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.0
    attention_probs_dropout_prob: float | int = 0.0
    drop_path_rate: float | int = 0.1
    layer_norm_eps: float | int = 1e-6
    final_layer_norm_eps: float | int = 1e-5
    streams: str = BOTH
    conv_stream: str = "bottleneck"
    stem_channels: int = 64
    conv_base_channels: int = 64
    conv_channel_ratio: float | int = 4
    num_med_blocks: int = 0
    stem_batch_norm_eps: float | int = 1e-5
    batch_norm_eps: float | int = 1e-6
    convmixer_dim: int = 768
    convmixer_kernel_size: int = 9
    convmixer_patch_size: int = 8
    convmixer_batch_norm_eps: float | int = 1e-5
    use_fusion: bool = True
    use_position_embeddings: bool = False
    interpolate_position_embeddings: bool = False
    initializer_range: float | int = 0.02
    prediction_head: str = "sum"
    pseudo_label_source: str | None = None
    pseudo_label_threshold: float | int = 0.7
    pseudo_label_temperature: float | int = 1.0
    unlabeled_loss_weight: float | int = 4.0
    label_smoothing: float | int = 0.1
    unlabeled_label_smoothing: float | int = 0.0
    head_loss_weights: list | tuple = (1.0, 1.0)
    unlabeled_head_loss_weights: list | tuple = (1.0, 1.0)
    consistency_loss: str | None = None
    consistency_loss_weight: float | int = 0.5
    consistency_margin: float | int = 0.5
    consistency_temperature: float | int = 1.0
    consistency_anchor: str = "weak"
    consistency_distance: str = "cosine"

    def __post_init__(self, **kwargs: Any) -> None:
        """Give the source of pseudo-labels its name here, and choose it where none is given."""
        if self.pseudo_label_source is None:
            self.pseudo_label_source = TRANSFORMER if self.streams == TRANSFORMER else CONV
        else:
            self.pseudo_label_source = OFFICIAL_SOURCES.get(self.pseudo_label_source, self.pseudo_label_source)
        if self.id2label is None:
            kwargs.setdefault("num_labels", IMAGENET_CLASSES)
        super().__post_init__(**kwargs)

    def to_diff_dict(self) -> dict[str, Any]:
        """Write the classes even if there are two of them, which transformers takes for the default."""
        return super().to_diff_dict() | {"id2label": self.id2label, "label2id": self.label2id}

    @property
    def has_conv_stream(self) -> bool:
        """Whether there is a convolution stream."""
        return self.streams != TRANSFORMER

    @property
    def has_transformer_stream(self) -> bool:
        """Whether there is a transformer stream."""
        return self.streams != CONV

    @property
    def picture_size(self) -> tuple[int, int]:
        """(height, width) that the processor makes."""
        return (self.image_size,) * 2 if isinstance(self.image_size, int) else tuple(self.image_size)

    @property
    def position_grid(self) -> tuple[int, int]:
        """Rows and columns of the tokens of a picture of `picture_size`."""
        return tuple(self.token_side(side) for side in self.picture_size)

    @property
    def token_stride(self) -> int:
        """Cells of the stem's map from one token to the next."""
        return self.patch_size // STEM_STRIDE

    @property
    def stage_widths(self) -> tuple[int, ...]:
        """Channels of the convolution stream's three stages."""
        if self.conv_stream == "convmixer":
            return (self.convmixer_dim,) * NUM_STAGES
        first = self.conv_base_channels * self.conv_channel_ratio
        return tuple(int(first * 2**stage) for stage in range(NUM_STAGES))

    def drop_path_rates(self) -> list[float]:
        """Give the rate of every transformer block."""
        steps = max(self.num_hidden_layers - 1, 1)
        rates = [self.drop_path_rate * index / steps for index in range(self.num_hidden_layers)]
        return rates[:CONVMIXER_BLOCKS] if self.conv_stream == "convmixer" else rates

    def block_plans(self) -> list[BlockPlan]:
        """Give the blocks in which the streams meet: all but the first, of which each stream has its own."""
        rates = self.drop_path_rates()
        if self.conv_stream == "convmixer":
            width, ratio = self.convmixer_dim, self.patch_size // self.convmixer_patch_size
            return [BlockPlan(width, width, 1, 1, ratio, rate) for rate in rates[1:]]
        plans, width, stage_length = [], self.stage_widths[0], self.num_hidden_layers // NUM_STAGES
        for number in range(1, self.num_hidden_layers):
            stage, place = divmod(number, stage_length)
            begins, ends = stage > 0 and place == 0, number == self.num_hidden_layers - 1
            plans.append(
                BlockPlan(
                    in_width=width,
                    width=self.stage_widths[stage],
                    stride=2 if begins else 1,
                    last_stride=2 if ends else 1,
                    ratio=self.token_stride >> stage,
                    drop_path_rate=rates[number],
                )
            )
            width = self.stage_widths[stage]
        return plans

    def token_side(self, side: int) -> int:
        """Give the number of tokens along a side of a picture, in pixels."""
        if self.streams == TRANSFORMER:
            return side // self.patch_size
        return stem_side(side) // self.token_stride

    def takes_side(self, side: int) -> bool:
        """Whether the streams of a picture with such a side, in pixels, fit each other."""
        if self.streams == TRANSFORMER:
            return side > 0 and side % self.patch_size == 0
        cells = stem_side(side)
        fits = side > 0 and cells % self.token_stride == 0
        if self.conv_stream == "convmixer":
            tokens, ratio = cells // self.token_stride, self.patch_size // self.convmixer_patch_size
            fits = fits and side // self.convmixer_patch_size == ratio * tokens
        return fits

    def nearest_sides(self, side: int) -> tuple[int, ...]:
        """Give the legal sides next to one in pixels, the lower first."""
        lower = next((near for near in range(side, 0, -1) if self.takes_side(near)), None)
        upper = next(near for near in range(max(side, 1), side + 2 * self.patch_size + 2) if self.takes_side(near))
        return tuple(dict.fromkeys(near for near in (lower, upper) if near is not None))

    def check_sides(self, name: str, height: int, width: int) -> None:
        """Raise ValueError for a side that the streams cannot share; names the nearest that they can."""
        for what, side in (("height", height), ("width", width)):
            if not self.takes_side(side):
                near = " or ".join(map(str, self.nearest_sides(side)))
                raise ValueError(
                    f"{name} has a {what} of {side} pixels, which the grids of both streams do not divide alike; "
                    f"nearest are {near}"
                )

    def validate_choices(self) -> None:
        """Refuse words that are none of the documented ones."""
        for name, allowed in (
            ("streams", STREAMS),
            ("conv_stream", CONV_STREAMS),
            ("prediction_head", PREDICTION_HEADS),
            ("pseudo_label_source", PSEUDO_LABEL_SOURCES),
            ("consistency_loss", CONSISTENCY_LOSSES),
            ("consistency_anchor", CONSISTENCY_ANCHORS),
            ("consistency_distance", CONSISTENCY_DISTANCES),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {getattr(self, name)!r}")
        if self.problem_type == "multi_label_classification":
            raise ValueError(
                "problem_type must not be 'multi_label_classification': a pseudo-label is one class, so that pictures "
                "with several classes cannot be learned from"
            )

    def validate_layers(self) -> None:
        """Refuse widths, counts and sizes of which no network can be built."""
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size", "mlp_ratio"):
            self._require(getattr(self, name) > 0, name, "must be positive")
        for name in ("stem_channels", "conv_base_channels", "conv_channel_ratio", "convmixer_dim"):
            self._require(getattr(self, name) > 0, name, "must be positive")
        self._require(self.num_med_blocks >= 0, "num_med_blocks", "must not be negative")
        self._require(self.num_channels == 3, "num_channels", "must be 3 (RGB)")
        self._require(self.num_hidden_layers % NUM_STAGES == 0, "num_hidden_layers", "must be divisible by 3")
        if self.has_conv_stream:
            self._require(self.patch_size % 16 == 0, "patch_size", "must be a multiple of 16")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} must be divisible by num_attention_heads {self.num_attention_heads}"
            )
        if self.conv_stream == "bottleneck" and self.stage_widths[0] // 4 == 0:
            raise ValueError(
                f"conv_base_channels {self.conv_base_channels} x conv_channel_ratio {self.conv_channel_ratio} leave "
                f"{self.stage_widths[0]} channels, but a bottleneck needs at least 4; give a larger conv_channel_ratio"
            )
        if self.conv_stream == "convmixer":
            self._require(
                self.num_hidden_layers >= LEAST_CONVMIXER_DEPTH,
                "num_hidden_layers",
                f"must be at least {LEAST_CONVMIXER_DEPTH} with conv_stream 'convmixer'",
            )
            self._require(self.patch_size == 16, "patch_size", "must be 16 with conv_stream 'convmixer'")
            self._require(self.convmixer_patch_size == 8, "convmixer_patch_size", "must be 8, half a token")
            self._require(self.convmixer_kernel_size % 2 == 1, "convmixer_kernel_size", "must be odd")
        if not isinstance(self.image_size, int) and len(self.image_size) != 2:
            raise ValueError(f"image_size must be one number or (height, width), got {self.image_size}")
        self.check_sides("image_size", *self.picture_size)

    def validate_streams(self) -> None:
        """Refuse heads and labels of a stream that is not there."""
        if self.streams == BOTH:
            return
        for name, allowed in (("prediction_head", ("sum", self.streams)), ("pseudo_label_source", (self.streams,))):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, but streams is {self.streams!r}; leave it out, or give "
                    "streams='both'"
                )
        if self.streams == TRANSFORMER and self.conv_stream != "bottleneck":
            raise ValueError("conv_stream says what the convolution stream is, but streams is 'transformer'")

    def validate_semi_supervision(self) -> None:
        """Refuse rates, thresholds and weights outside their ranges."""
        for name in ("drop_path_rate", "hidden_dropout_prob", "attention_probs_dropout_prob"):
            self._require(0 <= getattr(self, name) < 1, name, "must be at least 0 and below 1")
        for name in ("label_smoothing", "unlabeled_label_smoothing"):
            self._require(0 <= getattr(self, name) < 1, name, "must be at least 0 and below 1")
        self._require(0 <= self.pseudo_label_threshold <= 1, "pseudo_label_threshold", "must be in [0, 1]")
        for name in ("pseudo_label_temperature", "consistency_temperature"):
            self._require(getattr(self, name) > 0, name, "must be positive")
        for name in ("unlabeled_loss_weight", "consistency_loss_weight", "consistency_margin"):
            self._require(getattr(self, name) >= 0, name, "must not be negative")
        for name in ("head_loss_weights", "unlabeled_head_loss_weights"):
            weights = getattr(self, name)
            self._require(
                len(weights) == 2 and min(weights) >= 0,
                name,
                "must be two numbers, not negative, for the convolution and the transformer head",
            )

    def _require(self, holds: bool, name: str, rule: str) -> None:
        if not holds:
            raise ValueError(f"{name} {rule}, got {getattr(self, name)}")


def stem_side(side: int) -> int:
    """Give the side of the stem's map from that of the picture, in pixels: halved twice, rounded up."""
    return ((side + 1) // 2 + 1) // 2


SemiformerConfig.presets = {
    "semiformer-small-patch16": {},
    "semiformer-small-patch16-pe": {"use_position_embeddings": True},
    "semiformer-convmixer-12": {"conv_stream": "convmixer"},
    "embedded-semiformer": {
        "image_size": 32,
        "stem_channels": 32,
        "conv_channel_ratio": 1,
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "drop_path_rate": 0.0,
        "pseudo_label_threshold": 0.8,
        "unlabeled_loss_weight": 1.0,
    },
    "tiny-semiformer": {
        "image_size": 64,
        "conv_channel_ratio": 0.5,
        "hidden_size": 48,
        "num_hidden_layers": 6,
        "num_attention_heads": 3,
    },
}
