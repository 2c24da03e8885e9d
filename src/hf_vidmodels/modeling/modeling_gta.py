"""GTA: He et al., "GTA: Global Temporal Attention for Video Action Understanding", BMVC 2021, arXiv 2012.08510. No
code of the paper is public; what is stated there and what is our reconstruction is said in
`layers/temporal_attention.py`.

A residual video network that mixes frames by learned matrices: behind some of its blocks pixels look at each other
inside their frame, then pixels and regions are mixed over time by matrices that are the same for all videos.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.utils import ModelOutput

from ..configuration.configuration_gta import GtaConfig
from ..configuration.configuration_video_resnet import MULTI_LABEL, Seam
from .backbones.video_resnet import VideoResNetModel, VideoResNetPreTrainedModel, seam_name
from .layers.nonlocal_block import NonlocalBlock
from .layers.temporal_attention import CrossChannelTemporalMixing, GlobalTemporalAttention, RegionMixing
from .ops.classification_loss import classification_loss


@dataclass
class GtaOutput(ModelOutput):
    """What the classifier says of B clips.

    Args:
        loss: cross entropy (binary for several labels a clip), float32; only with labels.
        logits: (B, num_labels) before softmax or sigmoid.
        hidden_states: maps (B, C, T, H, W) that leave the stem and res2 to res5; on request.
        region_shares: per attention with regions (B, K, T, H, W), the share of every region in every pixel, 1 in sum
            over K; on request.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    region_shares: tuple[torch.Tensor, ...] | None = None


class GtaForVideoClassification(VideoResNetPreTrainedModel):
    """A residual video network with attention over time and a linear classifier.

    Example:
        >>> model = AutoModelForVideoClassification.from_pretrained("org/gta-r2d50-ssv2")
        >>> model(pixel_values).logits.argmax(-1)   # (B, T, 3, H, W), normalised
    """

    config: GtaConfig
    config_class = GtaConfig

    def __init__(self, config: GtaConfig) -> None:
        super().__init__(config)
        self.backbone = VideoResNetModel(config.backbone_config)
        self.attentions = nn.ModuleDict({seam_name(seam): _attention(config, seam) for seam in config.attention_seams})
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.backbone_config.feature_width, config.num_labels)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, CrossChannelTemporalMixing):
            module.start()

    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        pixel_values_slow: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_regions: bool = False,
        return_dict: bool | None = None,
    ) -> GtaOutput | tuple[Any, ...]:
        """Classify clips.

        Args:
            pixel_values: (B, T, C, H, W) normalised frames; SlowFast takes the slow pathway's among them.
            labels: class ids (B,), target probabilities (B, num_labels), or for a multi-label model 0 and 1
                (B, num_labels); gives a loss.
            pixel_values_slow: (B, T / alpha, C, H, W) frames of SlowFast's slow pathway, where they are not those.
            output_hidden_states: also return the maps of stem and stages.
            output_regions: also return which pixels belong to which region.
            return_dict: `False` for a tuple.

        Raises:
            ValueError: for clips or labels that do not fit, and for a number of frames that the temporal matrices were
                not made for.
        """
        config = self.config
        wants_states = self._asked_for("output_hidden_states", output_hidden_states)
        shares: list[torch.Tensor] = []
        watched = [self._watch(attention, shares) for attention in self.attentions.values() if output_regions]
        filters = {seam: self.attentions[seam_name(seam)] for seam in config.attention_seams}
        try:
            features = self.backbone(pixel_values, pixel_values_slow, filters, wants_states)
        finally:
            for hook in watched:
                hook.remove()
        logits = self.classifier(self.dropout(features.pooler_output))
        output = GtaOutput(
            loss=None
            if labels is None
            else classification_loss(logits, labels, multi_label=config.problem_type == MULTI_LABEL),
            logits=logits,
            hidden_states=features.hidden_states,
            region_shares=tuple(shares) if output_regions else None,
        )
        return output if self._asked_for("return_dict", return_dict) else output.to_tuple()

    def temporal_matrices(self, branch: str = "pixel") -> dict[Seam, torch.Tensor]:
        """Give the learned matrices as they are applied, for drawing.

        Args:
            branch: `"pixel"` or `"region"`.

        Returns:
            by position in the backbone (stage, block) float (heads, groups, target frames, source frames).

        Raises:
            ValueError: another attention than GTA, or a branch that the model does not have.
        """
        config = self.config
        if config.attention_type != "gta" or not getattr(config, f"use_{branch}_branch", False):
            raise ValueError(
                f"a model with attention_type {config.attention_type!r} has no matrices of branch {branch!r}"
            )
        found = {}
        for seam in config.attention_seams:
            attention = self.attentions[seam_name(seam)]
            mixing = attention.pixel if branch == "pixel" else attention.region.mixing
            found[seam] = mixing.matrices(mixing.num_frames).detach()
        return found

    @staticmethod
    def _watch(attention: nn.Module, shares: list[torch.Tensor]) -> Any:
        region = getattr(attention, "region", None)
        layer = nn.Identity() if region is None else region.assignment
        return layer.register_forward_hook(lambda _, __, scores: shares.append(scores.softmax(1)))


def _attention(config: GtaConfig, seam: Seam) -> nn.Module:
    """Make the attention at a position: the whole of GTA, or one of what it is compared with."""
    width, num_frames = config.backbone_config.seam_shape(seam)
    inner_width = config.inner_width(seam)
    options = {"norm_options": config.backbone_config.norm_options, "starts_at_zero": config.zero_init_output_norm}
    if config.attention_type == "joint":
        return NonlocalBlock(width, inner_width, over="all", **options)
    if config.attention_type == "decoupled":
        return nn.Sequential(*(NonlocalBlock(width, inner_width, over=axis, **options) for axis in ("space", "time")))

    def mixing() -> CrossChannelTemporalMixing:
        return CrossChannelTemporalMixing(
            width,
            inner_width,
            num_frames,
            config.num_groups,
            config.cross_channel,
            config.attention_normalization,
            config.attention_init,
            config.interpolate_attention,
        )

    return GlobalTemporalAttention(
        NonlocalBlock(width, inner_width, over="space", **options) if config.spatial_attention else None,
        mixing() if config.use_pixel_branch else None,
        RegionMixing(width, config.num_regions, config.region_normalization, mixing())
        if config.use_region_branch
        else None,
        width,
        inner_width,
        **options,
    )
