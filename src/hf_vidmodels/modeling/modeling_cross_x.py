"""Cross-X: Luo et al., "Cross-X Learning for Fine-Grained Visual Categorization", ICCV 2019, arXiv 1909.04412. Written
from facts about the official code (commit 0ed68c1).

A classifier of pictures whose classes differ in details. The last two stages of a ResNet or SENet give several maps of
a picture, its parts; three heads look at the parts of the last stage, of the one before, and of both merged. Features
of one part learn to agree across pictures and to differ from those of other parts; the heads learn to agree.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from ..configuration.configuration_cross_x import (
    LEAST_SIDE,
    MAX_POOLING,
    MERGED,
    PENULTIMATE,
    SENET,
    ULTIMATE,
    CrossXConfig,
)
from .layers.convolution_blocks import ResNetStem
from .layers.part_blocks import Excitations, PartBottleneck, PartMerge
from .layers.starting_weights import start_norm, start_uniform
from .modeling_base import VidModelsPreTrainedModel, refuse_integers
from .ops.classification_loss import classification_loss
from .ops.part_losses import c3s_loss, cross_layer_loss

# Convolutions are faster with channels last, on CPUs too.
MAP_FORMAT = torch.channels_last


@dataclass
class CrossXOutput(ModelOutput):
    """What the heads say of B pictures. Of heads that are not there, fields are None.

    Args:
        loss: float32; with labels.
        logits: (B, num_labels), the sum of the logits of all heads.
        ultimate_logits: (B, num_labels) of the head on the last stage.
        penultimate_logits: the same of the stage before.
        merged_logits: the same of both stages merged.
        ce: cross entropy of `logits`; with labels.
        c3s_ultimate: C3S of the last stage's part features, before its weight; with labels.
        c3s_penultimate: the same of the stage before.
        c3s_merged: the same of the merged features.
        cross_layer: divergences of the other heads from the ultimate one, before their weight; with labels.
        ultimate_features: (B, P, C), part features of the last stage; on request.
        penultimate_features: (B, P, C / 2), of the stage before; on request.
        merged_features: (B, P, C / 2), of both merged; on request.
        ultimate_maps: (B, P, C, h, w), part maps of the last stage; on request.
        penultimate_maps: (B, P, C / 2, 2 h, 2 w), of the stage before; on request.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    ultimate_logits: torch.Tensor | None = None
    penultimate_logits: torch.Tensor | None = None
    merged_logits: torch.Tensor | None = None
    ce: torch.Tensor | None = None
    c3s_ultimate: torch.Tensor | None = None
    c3s_penultimate: torch.Tensor | None = None
    c3s_merged: torch.Tensor | None = None
    cross_layer: torch.Tensor | None = None
    ultimate_features: torch.Tensor | None = None
    penultimate_features: torch.Tensor | None = None
    merged_features: torch.Tensor | None = None
    ultimate_maps: torch.Tensor | None = None
    penultimate_maps: torch.Tensor | None = None


class CrossXForImageClassification(VidModelsPreTrainedModel):
    """A classifier of pictures by their parts.

    Example:
        >>> model = AutoModelForImageClassification.from_pretrained("org/cross-x-birds")
        >>> model(pixel_values).logits.argmax(-1)   # (B, 3, H, W), normalised
    """

    config: CrossXConfig
    config_class = CrossXConfig
    base_model_prefix = "cross_x"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _no_split_modules = ["PartBottleneck", "PartMerge"]

    def __init__(self, config: CrossXConfig) -> None:
        super().__init__(config)
        self.stem = ResNetStem(config.num_channels, config.embedding_size, config.batch_norm_eps)
        self.stages = nn.ModuleList(
            nn.ModuleList(
                PartBottleneck(plan, config.expansion, config.batch_norm_eps, is_excited=config.backbone_type == SENET)
                for plan in plans
            )
            for plans in config.block_plans()
        )
        *_, fine_width, coarse_width = config.stage_widths
        widths = {ULTIMATE: coarse_width, PENULTIMATE: fine_width, MERGED: fine_width}
        if not config.has_parts:
            del widths[PENULTIMATE], widths[MERGED]
        self.merges = nn.ModuleList(
            PartMerge(fine_width, coarse_width, config.batch_norm_eps)
            for _ in range(config.num_parts if config.has_parts else 0)
        )
        self.classifier = nn.ModuleDict(
            {head: nn.Linear(width * config.num_parts, config.num_labels) for head, width in widths.items()}
        )
        self.post_init()
        if MERGED not in config.head_names:
            for name, parameter in self.named_parameters():
                if name.startswith(("merges.", f"classifier.{MERGED}.")):
                    parameter.requires_grad_(False)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            start_norm(module)
        elif isinstance(module, nn.Linear):
            start_uniform(module)
        elif isinstance(module, Excitations):
            start_uniform(module, num_inputs=module.weight.shape[1])

    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        output_part_features: bool | None = None,
        output_part_maps: bool | None = None,
        return_dict: bool | None = None,
    ) -> CrossXOutput | tuple[Any, ...]:
        """Classify pictures, and compare parts and heads where there are labels to learn from.

        In training mode C3S is over the batch of all processes together. With gradient accumulation it is over each
        batch alone.

        Args:
            pixel_values: (B, 3, H, W) normalised pictures, of at least 32 pixels on each side.
            labels: (B,) class ids, or (B, num_labels) target probabilities. Gives a loss.
            output_part_features: also return the pooled part features.
            output_part_maps: also return the part maps.
            return_dict: `False` for a tuple.

        Raises:
            ValueError: for pictures or labels that do not fit.
        """
        self._check_pictures(pixel_values)
        maps = self._part_maps(pixel_values)
        features = self._part_features(maps)
        output = CrossXOutput()
        for head, values in features.items():
            output[f"{head}_logits"] = self.classifier[head](values.flatten(1))
        output["logits"] = torch.stack([output[f"{head}_logits"] for head in features]).sum(0)
        if labels is not None:
            self._learn(output, features, labels)
        if self._asked_for("output_part_features", output_part_features):
            for head, values in features.items():
                output[f"{head}_features"] = values
        if self._asked_for("output_part_maps", output_part_maps):
            for name, parts in maps.items():
                output[f"{name}_maps"] = torch.stack(parts, 1)
        # A field that was None before comes last in an output; as a tuple it is in the order of the fields.
        output = CrossXOutput(**output)
        return output if self._asked_for("return_dict", return_dict) else output.to_tuple()

    def head_probabilities(self, output: CrossXOutput) -> dict[str, torch.Tensor]:
        """Give what each head says alone, as float32 probabilities (B, num_labels) by name; none where there is one.

        Evaluations score these beside `logits`.
        """
        if not self.config.has_parts:
            return {}
        return {head: output[f"{head}_logits"].float().softmax(-1) for head in self.config.head_names}

    def part_evidence(self, output: CrossXOutput, class_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Say what each place of each part's map adds to the logit of a class, by the heads that pool part maps.

        Of a maximum over the map all goes to the place where it is.

        Args:
            output: of `forward(..., output_part_maps=True)`.
            class_ids: (B,).

        Returns:
            By head (B, P, h, w); its sum over parts and places is the head's logit less its bias.

        Raises:
            ValueError: the output has no part maps.
        """
        if output.ultimate_maps is None:
            raise ValueError("there are no part maps in the output; call the model with output_part_maps=True")
        evidence = {}
        for head in (ULTIMATE, PENULTIMATE):
            if head not in self.classifier:
                continue
            maps = output[f"{head}_maps"]
            weights = self.classifier[head].weight[class_ids].unflatten(1, (self.config.num_parts, -1))
            places = maps.flatten(3)
            if head == PENULTIMATE and self.config.penultimate_pooling == MAX_POOLING:
                highest, place = places.max(-1, keepdim=True)
                pooled = torch.zeros_like(places).scatter_(3, place, highest)
            else:
                pooled = places / places.shape[-1]
            evidence[head] = torch.einsum("bpcn,bpc->bpn", pooled, weights).unflatten(2, maps.shape[3:])
        return evidence

    def _part_maps(self, pixel_values: torch.Tensor) -> dict[str, list[torch.Tensor]]:
        """Give the part maps (B, C, h, w) of the last stage and of the one before, by the name of their head.

        With one part there is the last stage's ordinary map.
        """
        features = self.stem(pixel_values.contiguous(memory_format=MAP_FORMAT))
        *plain, penultimate, ultimate = self.stages
        for stage in plain:
            for block in stage:
                features = block(features)
        maps = {}
        for head, stage in ((PENULTIMATE, penultimate), (ULTIMATE, ultimate)):
            *blocks, last = stage
            for block in blocks:
                features = block(features)
            if self.config.has_parts:
                features, maps[head] = last.forward_parts(features, is_last=head == ULTIMATE)
            else:
                features = last(features)
        return maps or {ULTIMATE: [features]}

    def _part_features(self, maps: dict[str, list[torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Pool part maps to features (B, P, C) for each head in use."""
        features = {ULTIMATE: torch.stack([part.mean((2, 3)) for part in maps[ULTIMATE]], 1)}
        if self.config.has_parts:
            is_max = self.config.penultimate_pooling == MAX_POOLING
            pooled = [part.amax((2, 3)) if is_max else part.mean((2, 3)) for part in maps[PENULTIMATE]]
            features[PENULTIMATE] = torch.stack(pooled, 1)
        if MERGED in self.config.head_names:
            pairs = zip(self.merges, maps[PENULTIMATE], maps[ULTIMATE], strict=True)
            features[MERGED] = torch.stack([merge(fine, coarse) for merge, fine, coarse in pairs], 1)
        return features

    def _learn(self, output: CrossXOutput, features: dict[str, torch.Tensor], labels: torch.Tensor) -> None:
        """Enter the loss and its parts."""
        output["ce"] = loss = classification_loss(output.logits, labels)
        for head, weight in self.config.c3s_weights.items():
            output[f"c3s_{head}"] = c3s_loss(features[head], across_processes=self.training)
            loss = loss + weight * output[f"c3s_{head}"]
        if self.config.has_parts:
            others = [output[f"{head}_logits"] for head in features if head != ULTIMATE]
            output["cross_layer"] = cross_layer_loss(output.ultimate_logits, others)
            loss = loss + self.config.cross_layer_weight * output["cross_layer"]
        output["loss"] = loss

    def _check_pictures(self, pixel_values: torch.Tensor) -> None:
        if pixel_values.dim() != 4 or pixel_values.shape[1] != self.config.num_channels:
            raise ValueError(
                f"pixel_values must be pictures (B, {self.config.num_channels}, H, W), got shape "
                f"{tuple(pixel_values.shape)}"
            )
        refuse_integers(pixel_values)
        if min(pixel_values.shape[2:]) < LEAST_SIDE:
            raise ValueError(
                f"pixel_values must have at least {LEAST_SIDE} pixels on each side, got "
                f"{tuple(pixel_values.shape[2:])}"
            )
