"""Configuration of ASM-Loc (He et al., "ASM-Loc: Action-aware Segment Modeling for Weakly-Supervised Temporal Action
Localization", CVPR 2022, arXiv 2203.15187).

All numbers are those of the official code at commit 4acb3c86c5ec; the defaults are its THUMOS-14 settings.
"""

from typing import Any, ClassVar

from .configuration_base import VidModelsConfig, strict_config


def _threshold_range(first: float, step: float, count: int) -> list[float]:
    return [first + index * step for index in range(count)]


def _localization_stage(
    source: str,
    thresholds: list[float],
    cas_weight: float,
    attention_weight: float,
    outer_ratio: float,
    class_score_weight: float,
) -> dict[str, Any]:
    return {
        "source": source,
        "thresholds": thresholds,
        "cas_weight": cas_weight,
        "attention_weight": attention_weight,
        "outer_ratio": outer_ratio,
        "class_score_weight": class_score_weight,
    }


THUMOS_TEST_STAGES = [
    _localization_stage("cas", _threshold_range(0.15, 0.05, 2), 1.0, 0.0, 0.2, 0.0),
    _localization_stage("attention", _threshold_range(0.1, 0.025, 33), 1.0, 0.0, 0.2, 0.0),
]
THUMOS_PSEUDO_STAGES = [_localization_stage("attention", _threshold_range(0.4, 0.025, 21), 1.0, 0.0, 0.2, 0.0)]
ACTIVITYNET_TEST_STAGES = [
    _localization_stage("cas", _threshold_range(0.005, 0.005, 4), 0.7, 0.3, 0.15, 0.0),
    _localization_stage("attention", _threshold_range(0.005, 0.005, 4), 0.7, 0.3, 0.15, 0.25),
]
ACTIVITYNET_PSEUDO_STAGES = [_localization_stage("cas", _threshold_range(0.1, 0.005, 41), 0.7, 0.3, 0.15, 0.0)]

# The official evaluators step by the rounded difference of the first two values; comparisons use the same doubles.
THUMOS_TIOU_THRESHOLDS = _threshold_range(0.1, (0.1 + 0.1) - 0.1, 9)
ACTIVITYNET_TIOU_THRESHOLDS = _threshold_range(0.5, (0.5 + 0.05) - 0.5, 10)

STAGE_FIELDS = ("source", "thresholds", "cas_weight", "attention_weight", "outer_ratio", "class_score_weight")


@strict_config
class AsmLocConfig(VidModelsConfig):
    """Settings of the whole cascade: its networks, losses, proposals, sampling and post-processing.

    Args:
        hidden_size: width C of the snippet features and of all layers; divisible by `num_attention_heads`.
        num_attention_heads: heads of the intra- and the inter-segment attention.
        conv_kernel_size: kernel of the embedding convolution, odd.
        use_symmetric_convolution: let that kernel be its own mirror over time (off in the official code; ours). A free
            one may shift what it finds by a snippet or so, earlier or later by chance, since classes of whole videos
            do not say when.
        standardize_features: subtract a mean from every feature and divide by a deviation, both kept with the weights
            (off in the official code, whose I3D features need none).
        hidden_dropout_prob: rate of both the snippet dropout and the feature dropout before the classifier.
        input_dropout_prob: dropout on the features before the embedding (ActivityNet 0.7).
        head_dropout_prob: dropout before the attention and the uncertainty head (ActivityNet 0.7).
        batch_norm_eps: of the batch norms in both attention modules.
        batch_norm_momentum: of the batch norms in both attention modules.
        uncertainty_init_std: standard deviation of the initial weights of the uncertainty head.
        num_refinement_steps: number of networks after the base network; the cascade has one more.
        num_trained_steps: how many networks of the cascade hold trained weights, from the base network on;
            `None` for all.
        answering_step: index of the network whose segments `localize` gives; `None` for the last trained one.
            Training chooses it on held-out videos.
        num_snippets: snippets S that a video is sampled to.
        max_proposals: most proposals N of one video that the segment attention sees; the best by score are kept.
        foreground_topk_ratio: foreground pooling averages the T // ratio best snippets.
        background_topk_ratio: background pooling averages the T // ratio best snippets.
        foreground_loss_weight: weight of the foreground bag loss.
        background_loss_weight: weight of the background bag loss.
        context_loss_weight: weight of the loss that reads action context from the background bag.
        instance_loss_weight: weight of the pseudo instance-level loss of refinement steps (1 in the official code).
        uncertainty_loss_weight: weight beta of the mean uncertainty inside the instance loss.
        proposal_extension: delta; proposals grow by this share of their length on each side.
        proposal_score_ratio: alpha; share of the cumulated score up to which proposals shape the sampling.
        short_proposal_length: gamma in snippets; proposals up to gamma * (2 * delta + 1) are stretched to that length.
        restrict_sampling_to_labels: whether the sampling of training videos uses only their labelled classes.
        use_dynamic_sampling: stretch time inside short proposals (off: an ablation).
        use_intra_attention: attention inside proposals (off: an ablation).
        use_inter_attention: attention between proposals (off: an ablation).
        frames_per_second: frame rate at which features were taken.
        frames_per_snippet: frames from one feature row to the next.
        class_threshold: video-level score above which a class is localised.
        upsample_scale: factor by which curves are interpolated before they are thresholded.
        feature_anchor: where in the time of a feature row its value stands when curves become segments, 0 (its start,
            as in the official code) to 1. With 0 segments lie early by half a row, and by another half after every
            refinement step, which matters where rows are far apart; 0.5 is ours.
        nms_threshold: overlap from which a lower-scored segment is suppressed.
        test_stages: thresholding stages of the answer, each a dict with `source` ("cas" or "attention"),
            `thresholds`, `cas_weight`, `attention_weight`, `outer_ratio`, `class_score_weight`.
        pseudo_stages: the same for the proposals handed to the next step.
        tiou_thresholds: thresholds at which mAP is computed.
        average_tiou_thresholds: those of them that the average mAP is taken over.
        feature_extractor: how features are made from video, so that the model takes video files: a dict of the
            fields of `hf_vidmodels.data.features.feature_extraction.SnippetFeatureExtractor`, or `None` when features
            were made elsewhere.

    Raises:
        ValueError: from construction, for fields that contradict each other.
        huggingface_hub.errors.StrictDataclassError: from construction, for a field of another type.
    """

    model_type = "asm_loc"
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "background_logits",
        "attention",
        "cas_logits",
        "uncertainty",
        "foreground_loss",
        "background_loss",
        "context_loss",
        "instance_loss",
    ]
    attribute_map = {}

    hidden_size: int = 2048
    num_attention_heads: int = 8
    conv_kernel_size: int = 3
    use_symmetric_convolution: bool = False
    standardize_features: bool = False
    hidden_dropout_prob: float | int = 0.7
    input_dropout_prob: float | int = 0.0
    head_dropout_prob: float | int = 0.0
    batch_norm_eps: float | int = 1e-5
    batch_norm_momentum: float | int = 0.1
    uncertainty_init_std: float | int = 1e-4
    num_refinement_steps: int = 3
    num_trained_steps: int | None = None
    answering_step: int | None = None
    num_snippets: int = 750
    max_proposals: int = 200
    foreground_topk_ratio: int = 8
    background_topk_ratio: int = 3
    foreground_loss_weight: float | int = 1.0
    background_loss_weight: float | int = 0.5
    context_loss_weight: float | int = 0.5
    instance_loss_weight: float | int = 1.0
    uncertainty_loss_weight: float | int = 0.2
    proposal_extension: float | int = 0.5
    proposal_score_ratio: float | int = 0.7
    short_proposal_length: float | int = 6
    restrict_sampling_to_labels: bool = True
    use_dynamic_sampling: bool = True
    use_intra_attention: bool = True
    use_inter_attention: bool = True
    frames_per_second: float | int = 25
    frames_per_snippet: int = 16
    class_threshold: float | int = 0.25
    upsample_scale: int = 20
    feature_anchor: float | int = 0.0
    nms_threshold: float | int = 0.45
    test_stages: list | tuple = tuple(THUMOS_TEST_STAGES)
    pseudo_stages: list | tuple = tuple(THUMOS_PSEUDO_STAGES)
    tiou_thresholds: list | tuple = tuple(THUMOS_TIOU_THRESHOLDS)
    average_tiou_thresholds: list | tuple = tuple(THUMOS_TIOU_THRESHOLDS[:7])
    feature_extractor: dict | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Fill in twenty classes (THUMOS-14) when neither `num_labels` nor `id2label` is given."""
        if self.id2label is None and kwargs.get("num_labels") is None:
            kwargs["num_labels"] = 20
        super().__post_init__(**kwargs)

    @property
    def num_steps(self) -> int:
        """Networks in the cascade: the base network and the refinement steps."""
        return self.num_refinement_steps + 1

    @property
    def last_trained_step(self) -> int:
        """Index of the last network that holds trained weights; -1 when none does."""
        return (self.num_steps if self.num_trained_steps is None else self.num_trained_steps) - 1

    def validate_architecture(self) -> None:
        """Refuse sizes that do not fit together."""
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size must be divisible by num_attention_heads, got {self.hidden_size} and "
                f"{self.num_attention_heads}"
            )
        if self.conv_kernel_size % 2 == 0:
            raise ValueError(
                f"conv_kernel_size must be odd, so that time keeps its length, got {self.conv_kernel_size}"
            )
        positive = (
            *("hidden_size", "num_attention_heads", "conv_kernel_size", "num_snippets", "max_proposals"),
            *("foreground_topk_ratio", "background_topk_ratio", "frames_per_second", "frames_per_snippet"),
            "upsample_scale",
        )
        for name in positive:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.num_refinement_steps < 0:
            raise ValueError(f"num_refinement_steps must be 0 or more, got {self.num_refinement_steps}")
        if self.num_trained_steps is not None and not 0 <= self.num_trained_steps <= self.num_steps:
            raise ValueError(
                f"num_trained_steps must be between 0 and num_refinement_steps + 1 = {self.num_steps}, got "
                f"{self.num_trained_steps}"
            )
        if self.answering_step is not None and not 0 <= self.answering_step < self.num_steps:
            raise ValueError(
                f"answering_step must be the index of one of the {self.num_steps} steps, got {self.answering_step}"
            )

    def validate_rates(self) -> None:
        """Refuse dropout rates outside [0, 1) and shares outside their ranges."""
        for name in ("hidden_dropout_prob", "input_dropout_prob", "head_dropout_prob"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if not 0 < self.nms_threshold <= 1:
            raise ValueError(f"nms_threshold must be in (0, 1], got {self.nms_threshold}")
        if not 0 <= self.class_threshold <= 1:
            raise ValueError(f"class_threshold must lie in [0, 1], got {self.class_threshold}")
        if not 0 < self.proposal_score_ratio <= 1:
            raise ValueError(f"proposal_score_ratio must be in (0, 1], got {self.proposal_score_ratio}")
        if not 0 <= self.feature_anchor <= 1:
            raise ValueError(f"feature_anchor must lie in [0, 1], got {self.feature_anchor}")
        if self.proposal_extension < 0:
            raise ValueError(f"proposal_extension must be 0 or more, got {self.proposal_extension}")

    def validate_stages(self) -> None:
        """Refuse thresholding stages without a known source, thresholds or weights."""
        for table in ("test_stages", "pseudo_stages"):
            stages = getattr(self, table)
            if not stages:
                raise ValueError(f"{table} must hold at least one stage, got none")
            for stage in stages:
                if sorted(stage) != sorted(STAGE_FIELDS):
                    raise ValueError(f"every stage of {table} needs exactly {STAGE_FIELDS}, got {tuple(stage)}")
                if stage["source"] not in ("cas", "attention"):
                    raise ValueError(f"source in {table} must be 'cas' or 'attention', got {stage['source']!r}")
                if not stage["thresholds"]:
                    raise ValueError(f"thresholds in {table} must not be empty")

    def validate_tiou_thresholds(self) -> None:
        """Refuse an average over thresholds that are not evaluated."""
        if not self.tiou_thresholds or not all(0 < value <= 1 for value in self.tiou_thresholds):
            raise ValueError(f"tiou_thresholds must be a list of values in (0, 1], got {self.tiou_thresholds}")
        if not self.average_tiou_thresholds or not set(self.average_tiou_thresholds) <= set(self.tiou_thresholds):
            raise ValueError(
                f"average_tiou_thresholds must be some of tiou_thresholds {self.tiou_thresholds}, got "
                f"{self.average_tiou_thresholds}"
            )


AsmLocConfig.presets = {
    "asm-loc-thumos": {},
    "asm-loc-activitynet": {
        "num_labels": 200,
        "input_dropout_prob": 0.7,
        "head_dropout_prob": 0.7,
        "num_refinement_steps": 1,
        "num_snippets": 150,
        "max_proposals": 100,
        "foreground_topk_ratio": 2,
        "background_topk_ratio": 10,
        "foreground_loss_weight": 5.0,
        "proposal_extension": 0.0,
        "proposal_score_ratio": 0.3,
        "short_proposal_length": 10,
        "restrict_sampling_to_labels": False,
        "class_threshold": 0.1,
        "nms_threshold": 0.9,
        "test_stages": ACTIVITYNET_TEST_STAGES,
        "pseudo_stages": ACTIVITYNET_PSEUDO_STAGES,
        "tiou_thresholds": ACTIVITYNET_TIOU_THRESHOLDS,
        "average_tiou_thresholds": ACTIVITYNET_TIOU_THRESHOLDS,
    },
}
