"""Semiformer: Weng et al., "Semi-Supervised Vision Transformers", ECCV 2022, arXiv 2111.11067. Written from facts
about the official code (commit 0e3b5be).

A classifier of pictures with a convolution and a transformer stream, which exchange features in every block and have a
head each. On pictures without labels the convolution head, in evaluation mode, labels a weakly augmented view, and
both heads learn that label on a strongly augmented one.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from ..configuration.configuration_semiformer import BOTH, CONV, TRANSFORMER, SemiformerConfig
from .layers.convolution_blocks import ConvMixerEmbedding, ResNetStem
from .layers.starting_weights import start_norm, start_transformer_linear, start_truncated_normal
from .layers.two_stream_block import TokenEmbeddings, TwoStreamBlock, conv_block, transformer_block
from .modeling_base import VidModelsPreTrainedModel, refuse_integers
from .ops.consistency_losses import consistency_loss
from .ops.pseudo_labels import pseudo_labels
from .ops.semi_supervised_loss import labelled_losses, unlabelled_losses

# Convolutions are faster with channels last, on CPUs too.
MAP_FORMAT = torch.channels_last


@dataclass
class SemiformerOutput(ModelOutput):
    """What both heads say of B pictures, and what was learned from. Of a stream that is not there, fields are None.

    Args:
        loss: float32; with labels or views of pictures without labels.
        logits: (B, num_labels) of `pixel_values`, as `prediction_head` says.
        conv_logits: (B, num_labels) of the convolution head.
        transformer_logits: (B, num_labels) of the transformer head.
        conv_features: (B, C), the mean over the last map.
        transformer_features: (B, D), the normalised class token.
        conv_loss: part of the convolution head on labelled pictures, before its weight; 0 without labels.
        transformer_loss: the same of the transformer head.
        unlabeled_conv_loss: part of the convolution head on pseudo-labels, before its weights.
        unlabeled_transformer_loss: the same of the transformer head.
        consistency_loss: the loss between both views, before its weight, where the configuration has one.
        pseudo_labels: (U,) class ids of the pictures without labels.
        pseudo_weights: (U,) weights of these, 0 for those that do not count.
        mask_ratio: mean of the weights.
        hidden_states: tokens (B, 1 + N, D) after every transformer block; on request.
        conv_hidden_states: maps (B, C, h, w) after every block of the convolution stream; on request.
        attentions: (B, heads, 1 + N, 1 + N) of every transformer block; on request.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    conv_logits: torch.Tensor | None = None
    transformer_logits: torch.Tensor | None = None
    conv_features: torch.Tensor | None = None
    transformer_features: torch.Tensor | None = None
    conv_loss: torch.Tensor | None = None
    transformer_loss: torch.Tensor | None = None
    unlabeled_conv_loss: torch.Tensor | None = None
    unlabeled_transformer_loss: torch.Tensor | None = None
    consistency_loss: torch.Tensor | None = None
    pseudo_labels: torch.Tensor | None = None
    pseudo_weights: torch.Tensor | None = None
    mask_ratio: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    conv_hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class StreamAnswers:
    """What the streams say of B pictures, by stream; `"conv"` comes before `"transformer"`."""

    logits: dict[str, torch.Tensor]
    features: dict[str, torch.Tensor]
    maps: list[torch.Tensor]
    tokens: list[torch.Tensor]
    attentions: list[torch.Tensor]

    def rows(self, chosen: slice) -> "StreamAnswers":
        """Give the answers about some of the pictures."""

        def part(values: list[torch.Tensor | None]) -> list[torch.Tensor | None]:
            return [None if value is None else value[chosen] for value in values]

        logits, features = (
            {stream: value[chosen] for stream, value in by_stream.items()}
            for by_stream in (self.logits, self.features)
        )
        return StreamAnswers(logits, features, part(self.maps), part(self.tokens), part(self.attentions))


class SemiformerForImageClassification(VidModelsPreTrainedModel):
    """A classifier of pictures that learns from labelled ones, and from ones without labels by its own answers.

    Example:
        >>> model = AutoModelForImageClassification.from_pretrained("org/semiformer-small")
        >>> model(pixel_values).logits.argmax(-1)   # (B, 3, H, W), normalised
    """

    config: SemiformerConfig
    config_class = SemiformerConfig
    base_model_prefix = "semiformer"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _no_split_modules = ["TwoStreamBlock"]

    def __init__(self, config: SemiformerConfig) -> None:
        super().__init__(config)
        is_mixer, first_width = config.conv_stream == "convmixer", config.stage_widths[0]
        self.stem = self.conv_embeddings = self.first_conv = self.embeddings = self.first_transformer = None
        if config.has_conv_stream:
            if config.streams == BOTH or not is_mixer:
                self.stem = ResNetStem(config.num_channels, config.stem_channels, config.stem_batch_norm_eps)
            if is_mixer:
                self.conv_embeddings = ConvMixerEmbedding(
                    config.num_channels, first_width, config.convmixer_patch_size, config.convmixer_batch_norm_eps
                )
            self.first_conv = conv_block(
                config, first_width if is_mixer else config.stem_channels, first_width, is_first=True
            )
        if config.has_transformer_stream:
            embedded = (
                (config.stem_channels, config.token_stride)
                if self.stem is not None
                else (config.num_channels, config.patch_size)
            )
            self.embeddings = TokenEmbeddings(config, *embedded)
            self.first_transformer = transformer_block(config, config.drop_path_rates()[0])
        self.blocks = nn.ModuleList(TwoStreamBlock(config, plan) for plan in config.block_plans())
        self.classifier = nn.ModuleDict()
        if config.has_conv_stream:
            self.classifier[CONV] = nn.Linear(config.stage_widths[-1], config.num_labels)
        if config.has_transformer_stream:
            self.norm = nn.LayerNorm(config.hidden_size, eps=config.final_layer_norm_eps)
            self.classifier[TRANSFORMER] = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        std = self.config.initializer_range
        if isinstance(module, nn.Linear):
            start_transformer_linear(module, std)
        elif isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
            start_norm(module)
        elif isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                bound = module.weight[0].numel() ** -0.5
                init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, TokenEmbeddings):
            for parameter in (module.cls_token, module.positions):
                if parameter is not None:
                    start_truncated_normal(parameter, std)

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        strong_pixel_values: torch.Tensor | None = None,
        weak_pixel_values: torch.Tensor | None = None,
        with_consistency: bool = True,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> SemiformerOutput | tuple[Any, ...]:
        """Classify pictures, and learn from those that have labels and from two views of others.

        In training mode labelled pictures and strong views go through the streams in one batch, which moves the
        running statistics; then the weak views go through them in evaluation mode without gradient.

        Args:
            pixel_values: (B, 3, H, W) normalised pictures; may be left out where views are given.
            labels: (B,) class ids, -1 or -100 for pictures that do not count; or (B, num_labels) target
                probabilities. Gives a loss.
            strong_pixel_values: (U, 3, H, W) strongly augmented pictures without labels. Gives a loss.
            weak_pixel_values: (U, 3, H, W) the same pictures, weakly augmented.
            with_consistency: whether the configuration's consistency loss counts; False before it begins.
            output_hidden_states: also return what every block gives.
            output_attentions: also return the attention probabilities.
            return_dict: `False` for a tuple.

        Raises:
            ValueError: for pictures, views or labels that do not fit, and when attentions are asked of an
                implementation that never computes them.
        """
        wants_states = self._asked_for("output_hidden_states", output_hidden_states)
        wants_attentions = self._asked_for("output_attentions", output_attentions)
        if wants_attentions and self.config._attn_implementation != "eager":
            raise ValueError(
                f"attention {self.config._attn_implementation!r} computes no probabilities to give; call "
                "model.set_attn_implementation('eager') first"
            )
        has_views = self._check_pictures(pixel_values, strong_pixel_values, weak_pixel_values)
        given = [pictures for pictures in (pixel_values, strong_pixel_values) if pictures is not None]
        answers = self._run_streams(given[0] if len(given) == 1 else torch.cat(given), wants_states)
        num_pictures = 0 if pixel_values is None else len(pixel_values)
        mine, strong = answers.rows(slice(num_pictures)), answers.rows(slice(num_pictures, None))
        output = SemiformerOutput(
            hidden_states=tuple(mine.tokens) if wants_states else None,
            conv_hidden_states=tuple(mine.maps) if wants_states else None,
            attentions=tuple(mine.attentions) if wants_attentions else None,
        )
        if num_pictures:
            output["logits"] = self._combined(mine.logits)
            for stream in mine.logits:
                output[f"{stream}_logits"], output[f"{stream}_features"] = mine.logits[stream], mine.features[stream]
        if labels is not None or has_views:
            self._learn_from_labels(output, mine, labels)
        if has_views:
            with self._evaluated(), torch.no_grad():
                weak = self._run_streams(weak_pixel_values)
            self._learn_from_views(output, strong, weak)
            if with_consistency and self.config.consistency_loss is not None:
                self._compare_views(output, strong, weak)
        # A field that was None before comes last in an output; as a tuple it is in the order of the fields.
        output = SemiformerOutput(**output)
        return output if self._asked_for("return_dict", return_dict) else output.to_tuple()

    def head_probabilities(self, output: SemiformerOutput) -> dict[str, torch.Tensor]:
        """Give what each head says alone, and both together, as float32 probabilities (B, num_labels) by name.

        Evaluations score these beside `logits`.
        """
        heads = {CONV: output.conv_logits, TRANSFORMER: output.transformer_logits}
        if self.config.streams != BOTH:
            return {}
        found = {name: logits.float().softmax(-1) for name, logits in heads.items()}
        return found | {
            "sum": (heads[CONV].float() + heads[TRANSFORMER].float()).softmax(-1),
            "softmax_sum": (found[CONV] + found[TRANSFORMER]) / 2,
        }

    def _run_streams(self, pixel_values: torch.Tensor, wants_states: bool = False) -> StreamAnswers:
        """Classify pictures (B, 3, H, W) by both heads."""
        pixel_values = pixel_values.contiguous(memory_format=MAP_FORMAT)
        features = pixel_values if self.stem is None else self.stem(pixel_values)
        tokens = probabilities = None
        if self.embeddings is not None:
            tokens, probabilities = self.first_transformer(self.embeddings(features))
        if self.first_conv is not None:
            features = features if self.conv_embeddings is None else self.conv_embeddings(pixel_values)
            features = self.first_conv(features)
        found = StreamAnswers({}, {}, [features], [tokens], [probabilities])
        for block in self.blocks:
            features, tokens, probabilities = block(features, tokens)
            if wants_states:
                found.maps.append(features)
                found.tokens.append(tokens)
            found.attentions.append(probabilities)
        if self.first_conv is not None:
            found.features[CONV] = features.mean((2, 3))
        if self.embeddings is not None:
            found.features[TRANSFORMER] = self.norm(tokens[:, :1])[:, 0]
        for stream, features in found.features.items():
            found.logits[stream] = self.classifier[stream](features)
        return found

    def _combined(self, logits: dict[str, torch.Tensor]) -> torch.Tensor:
        """Give the logits that answer, as `prediction_head` says."""
        head = self.config.prediction_head
        if head in logits:
            return logits[head]
        if len(logits) == 1:
            return next(iter(logits.values()))
        if head == "sum":
            return logits[CONV] + logits[TRANSFORMER]
        parts = [stream_logits.float().log_softmax(-1) for stream_logits in logits.values()]
        return (torch.logaddexp(*parts) - math.log(2)).to(logits[CONV].dtype)

    def _learn_from_labels(
        self, output: SemiformerOutput, answers: StreamAnswers, labels: torch.Tensor | None
    ) -> None:
        """Enter the loss on labelled pictures, 0 where there are none."""
        heads, weights = list(answers.logits.values()), self._weights_of(answers, self.config.head_loss_weights)
        if labels is None:
            losses = [head.new_zeros((), dtype=torch.float32) for head in heads]
        else:
            losses = labelled_losses(heads, labels, self.config.label_smoothing)
        for stream, loss in zip(answers.logits, losses, strict=True):
            output[f"{stream}_loss"] = loss
        output["loss"] = _weighted_sum(losses, weights)

    def _learn_from_views(self, output: SemiformerOutput, strong: StreamAnswers, weak: StreamAnswers) -> None:
        """Label pictures by their weak views, and enter and add the loss on the strong ones."""
        config = self.config
        first, last = next(iter(weak.logits.values())), list(weak.logits.values())[-1]
        labels, weights = pseudo_labels(
            first, last, config.pseudo_label_source, config.pseudo_label_threshold, config.pseudo_label_temperature
        )
        losses = unlabelled_losses(list(strong.logits.values()), labels, weights, config.unlabeled_label_smoothing)
        for stream, loss in zip(strong.logits, losses, strict=True):
            output[f"unlabeled_{stream}_loss"] = loss
        loss = _weighted_sum(losses, self._weights_of(strong, config.unlabeled_head_loss_weights))
        output["loss"] = output["loss"] + config.unlabeled_loss_weight * loss
        output["pseudo_labels"], output["pseudo_weights"], output["mask_ratio"] = labels, weights, weights.mean()

    def _compare_views(self, output: SemiformerOutput, strong: StreamAnswers, weak: StreamAnswers) -> None:
        """Enter and add the loss between the features of both views, summed over the streams."""
        config = self.config
        losses = [
            consistency_loss(
                weak.features[stream],
                features,
                kind=config.consistency_loss,
                anchor=config.consistency_anchor,
                distance=config.consistency_distance,
                margin=config.consistency_margin,
                temperature=config.consistency_temperature,
            )
            for stream, features in strong.features.items()
        ]
        output["consistency_loss"] = torch.stack(losses).sum()
        output["loss"] = output["loss"] + config.consistency_loss_weight * output["consistency_loss"]

    @staticmethod
    def _weights_of(answers: StreamAnswers, weights: Sequence[float]) -> list[float]:
        """Give the weights of the heads that there are, out of those of the convolution and the transformer head."""
        return [
            weight for stream, weight in zip((CONV, TRANSFORMER), weights, strict=True) if stream in answers.logits
        ]

    @contextmanager
    def _evaluated(self) -> Iterator[None]:
        """Put all parts into evaluation mode inside the block, and back into the mode of each after it."""
        modes = [(module, module.training) for module in self.modules()]
        for module, _ in modes:
            module.training = False
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode

    def _check_pictures(
        self, pixel_values: torch.Tensor | None, strong: torch.Tensor | None, weak: torch.Tensor | None
    ) -> bool:
        """Refuse pictures that do not fit; say whether there are views of pictures without labels."""
        given = {"pixel_values": pixel_values, "strong_pixel_values": strong, "weak_pixel_values": weak}
        if (strong is None) != (weak is None):
            lacking = "weak" if weak is None else "strong"
            raise ValueError(
                f"pictures without labels need two views, but {lacking}_pixel_values are missing; give both or neither"
            )
        if pixel_values is None and strong is None:
            raise ValueError("pixel_values are missing: give pictures (B, 3, H, W)")
        for name, pictures in given.items():
            if pictures is None:
                continue
            if pictures.dim() != 4 or pictures.shape[1] != self.config.num_channels:
                raise ValueError(
                    f"{name} must be pictures (B, {self.config.num_channels}, H, W), got shape {tuple(pictures.shape)}"
                )
            refuse_integers(pictures, name)
            self.config.check_sides(name, *pictures.shape[-2:])
        if strong is not None and strong.shape != weak.shape:
            raise ValueError(
                "strong_pixel_values and weak_pixel_values must be views of the same pictures, got shapes "
                f"{tuple(strong.shape)} and {tuple(weak.shape)}"
            )
        if pixel_values is not None and strong is not None and pixel_values.shape[1:] != strong.shape[1:]:
            raise ValueError(
                "pixel_values and strong_pixel_values go through the network together and must have one size, got "
                f"{tuple(pixel_values.shape[2:])} and {tuple(strong.shape[2:])}"
            )
        return strong is not None


def _weighted_sum(losses: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    return torch.stack([weight * loss for weight, loss in zip(weights, losses, strict=True)]).sum()
