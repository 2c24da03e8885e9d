"""ASM-Loc: He et al., "ASM-Loc: Action-aware Segment Modeling for Weakly-Supervised Temporal Action Localization",
CVPR 2022, arXiv 2203.15187. Written from facts about the official code (commit 4acb3c86c5ec, no licence).

The published system is a cascade: a base network finds rough segments from video-level labels, and each refinement
network sees the segments of the one before in three ways: time is stretched inside short ones, attention runs inside
and between them, and (in training) snippets learn from labels made of them. All networks live in one model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from ..configuration.configuration_asm_loc import AsmLocConfig
from .layers.segment_attention import (
    InterSegmentAttention,
    IntraSegmentAttention,
    proposal_membership,
    valid_slots,
)
from .layers.starting_weights import start_norm, start_uniform
from .modeling_base import VidModelsPreTrainedModel
from .ops.bag_losses import soft_cross_entropy, topk_mean, uncertain_cross_entropy
from .ops.proposal_guidance import GuidedSnippets, guide_snippets
from .ops.segment_proposals import localize_segments
from .ops.snippet_sampling import TimeWarp, sample_uniform

Prediction = dict[str, np.ndarray]


@dataclass
class AsmLocOutput(ModelOutput):
    """What one network of the cascade says. B videos, T snippets, K action classes; class index K is background.

    Args:
        loss: weighted sum of the terms below, float32; only with labels.
        logits: (B, K + 1) pooled over the snippets that attention calls foreground.
        background_logits: (B, K + 1) pooled over the snippets that attention calls background.
        attention: (B, T, 2) probability of foreground and of background.
        cas_logits: (B, T, K + 1) class activation sequence before softmax.
        uncertainty: (B, T) of each snippet, unbounded; refinement networks only.
        foreground_loss: the foreground bag is the video's action.
        background_loss: the background bag is background.
        context_loss: the background bag still holds the action's context.
        instance_loss: snippets against pseudo labels; only with `pseudo_labels`.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    background_logits: torch.Tensor | None = None
    attention: torch.Tensor | None = None
    cas_logits: torch.Tensor | None = None
    uncertainty: torch.Tensor | None = None
    foreground_loss: torch.Tensor | None = None
    background_loss: torch.Tensor | None = None
    context_loss: torch.Tensor | None = None
    instance_loss: torch.Tensor | None = None

    @property
    def class_scores(self) -> torch.Tensor:
        """(B, K + 1) video-level probabilities of the foreground bag."""
        return self.logits.float().softmax(-1)

    @property
    def foreground_cas(self) -> torch.Tensor:
        """(B, T, K + 1) snippet probabilities after attention has scaled the logits."""
        return (self.cas_logits.float() * self.attention[..., :1].float()).softmax(-1)


class FeatureStandardization(nn.Module):
    """Subtracts a mean from every feature and divides by a deviation; both are buffers saved with the weights."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(hidden_size))
        self.register_buffer("std", torch.ones(hidden_size))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Standardise (..., C) features."""
        return (features - self.mean) / self.std


class TimeSymmetricConv1d(nn.Conv1d):
    """A convolution that treats what is before a snippet and what is after it alike.

    Classes of whole videos say nothing about when an action happens. A free kernel may look ahead or behind, and what
    it finds is that much too early or too late; which way depends on the seed.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (B, C, T) to (B, C', T) by the mean of the kernel and its mirror."""
        return self._conv_forward(features, (self.weight + self.weight.flip(-1)) / 2, self.bias)


class UncertaintyHead(nn.Conv1d):
    """One value per snippet; a class of its own for its own initialisation."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size, 1, kernel_size=1, bias=False)


class AsmLocNetwork(nn.Module):
    """One network of the cascade; refinement networks add segment attention and an uncertainty head."""

    def __init__(self, config: AsmLocConfig, is_refinement: bool) -> None:
        super().__init__()
        self.config = config
        self.is_refinement = is_refinement
        size = config.hidden_size
        self.input_dropout = nn.Dropout(config.input_dropout_prob)
        convolution = TimeSymmetricConv1d if config.use_symmetric_convolution else nn.Conv1d
        self.embedding = convolution(size, size, config.conv_kernel_size, padding=config.conv_kernel_size // 2)
        if is_refinement:
            attention_arguments = (size, config.num_attention_heads, config.batch_norm_eps, config.batch_norm_momentum)
            self.intra_attention = IntraSegmentAttention(*attention_arguments) if config.use_intra_attention else None
            self.inter_attention = InterSegmentAttention(*attention_arguments) if config.use_inter_attention else None
            self.uncertainty_dropout = nn.Dropout(config.head_dropout_prob)
            self.uncertainty_head = UncertaintyHead(size)
        self.attention_dropout = nn.Dropout(config.head_dropout_prob)
        self.attention_head = nn.Conv1d(size, 2, kernel_size=1)
        self.snippet_dropout = nn.Dropout(config.hidden_dropout_prob)
        self.feature_dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(size, config.num_labels + 1)

    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None,
        proposal_boxes: torch.Tensor | None,
        num_proposals: torch.Tensor | None,
    ) -> AsmLocOutput:
        """Score (B, T, C) snippets; see `AsmLocForTemporalActionLocalization.forward` for the arguments."""
        hidden_states = self.embed(input_features, attention_mask)
        uncertainty = None
        if self.is_refinement:
            hidden_states = self.attend_to_proposals(hidden_states, attention_mask, proposal_boxes, num_proposals)
            uncertainty = self.uncertainty_head(self.uncertainty_dropout(hidden_states)).squeeze(1)
        attention = self.attention_head(self.attention_dropout(hidden_states)).transpose(1, 2)
        attention = attention.float().softmax(-1).to(hidden_states.dtype)
        cas_logits = self.classify(hidden_states.transpose(1, 2))
        return AsmLocOutput(
            logits=topk_mean(cas_logits * attention[..., :1], self.config.foreground_topk_ratio, attention_mask),
            background_logits=topk_mean(
                cas_logits * attention[..., 1:], self.config.background_topk_ratio, attention_mask
            ),
            attention=attention,
            cas_logits=cas_logits,
            uncertainty=uncertainty,
        )

    def embed(self, input_features: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """Embed (B, T, C) features as (B, C, T); padding counts as the zeros that a convolution pads with."""
        if attention_mask is not None:
            input_features = input_features * attention_mask[..., None].to(input_features.dtype)
        return self.embedding(self.input_dropout(input_features.transpose(1, 2))).relu()

    def attend_to_proposals(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None,
        proposal_boxes: torch.Tensor,
        num_proposals: torch.Tensor,
    ) -> torch.Tensor:
        """Refine (B, C, T) hidden states inside, then between the proposals."""
        membership = proposal_membership(proposal_boxes, num_proposals, hidden_states.shape[2])
        if self.intra_attention is not None:
            hidden_states = self.intra_attention(hidden_states, membership, attention_mask)
        if self.inter_attention is not None:
            slots = valid_slots(proposal_boxes, num_proposals)
            hidden_states = self.inter_attention(hidden_states, membership, slots, attention_mask)
        return hidden_states

    def classify(self, snippets: torch.Tensor) -> torch.Tensor:
        """Give (B, T, K + 1) logits; in training whole snippets vanish first, then single features."""
        keep_snippets = self.snippet_dropout(torch.ones_like(snippets[..., :1]))
        return self.classifier(self.feature_dropout(snippets * keep_snippets))


class AsmLocForTemporalActionLocalization(VidModelsPreTrainedModel):
    """The cascade of ASM-Loc networks: scored action segments of untrimmed videos from snippet features.

    `localize` answers for whole videos. `forward` runs one network of the cascade, for training and for inspection.

    Example:
        >>> model = AutoModel.from_pretrained("org/asm-loc-thumos")
        >>> model.localize(features)[0]["segments"]   # features: (L, 2048) float32; seconds
    """

    config: AsmLocConfig
    config_class = AsmLocConfig
    base_model_prefix = "asm_loc"
    main_input_name = "input_features"
    _supports_sdpa = True
    _no_split_modules = ["AsmLocNetwork"]

    def __init__(self, config: AsmLocConfig) -> None:
        super().__init__(config)
        self.standardization = FeatureStandardization(config.hidden_size) if config.standardize_features else None
        self.steps = nn.ModuleList(AsmLocNetwork(config, is_refinement=step > 0) for step in range(config.num_steps))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, UncertaintyHead):
            init.normal_(module.weight, std=self.config.uncertainty_init_std)
        elif isinstance(module, nn.Conv1d | nn.Linear):
            start_uniform(module)
        elif isinstance(module, FeatureStandardization):
            init.zeros_(module.mean)
            init.ones_(module.std)
        elif isinstance(module, nn.BatchNorm1d):
            start_norm(module, scale=0.0)

    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        proposal_boxes: torch.Tensor | None = None,
        num_proposals: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        pseudo_labels: torch.Tensor | None = None,
        step: int | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> AsmLocOutput | tuple[torch.Tensor, ...]:
        """Run one network of the cascade.

        Args:
            input_features: (B, T, C) snippet features, zero rows as padding.
            attention_mask: (B, T), 1 for real snippets; `None` when all are.
            proposal_boxes: (B, N, 2) inclusive snippet indices of the previous step's proposals; needed from step 1.
                A box outside [0, T - 1] is cut, one whose start exceeds its end covers nothing.
            num_proposals: (B,) how many of the boxes are real; `None` when all are.
            labels: (B, K) multi-hot video labels, at least one per video; gives a loss.
            pseudo_labels: (B, T, K + 1) rows that sum to 1; with `labels`, adds the instance loss from step 1.
            step: index of the network, 0 for the base; by default the last trained one.
            return_dict: `False` for a tuple.

        Raises:
            ValueError: for features of another width, a step that does not exist or lacks its proposals, labels of
                another shape or without any class.
        """
        step = self._checked_step(step)
        self._check_features(input_features, attention_mask)
        if step > 0:
            proposal_boxes, num_proposals = self._checked_proposals(
                step, proposal_boxes, num_proposals, len(input_features)
            )
        if self.standardization is not None:
            input_features = self.standardization(input_features)
        output = self.steps[step](input_features, attention_mask, proposal_boxes, num_proposals)
        if labels is not None:
            output = AsmLocOutput(**self._losses(output, labels, pseudo_labels, attention_mask), **output)
        return output if self._asked_for("return_dict", return_dict) else output.to_tuple()

    @torch.inference_mode()
    def localize(
        self,
        features: Any,
        *,
        return_all_steps: bool = False,
        return_curves: bool = False,
        batch_size: int = 8,
        step: int | None = None,
    ) -> list[Prediction] | list[list[Prediction]]:
        """Find the action segments of whole videos by running the trained steps one after the other.

        Args:
            features: (L, C) snippet features of one video, a list of them, or what
                `AsmLocProcessor(..., sampling=None)` returns (all rows of every video).
            return_all_steps: give one list of predictions per trained step instead of the answering one.
            return_curves: add `attention` (T,), `class_scores` (T, K) and `curve_times` (T,) in seconds.
            batch_size: videos in one forward pass.
            step: index of the step that answers; by default the configuration's `answering_step`, or the last trained
                one.

        Returns:
            Per video a dict of `segments` (N, 2) in seconds, `scores` (N,) and `labels` (N,), class by class and
            inside a class by descending score.

        Raises:
            ValueError: when no step is trained or not the one asked for, or for features that do not fit.
        """
        videos = self._as_videos(features)
        answering_step = self.answering_step(step)
        last_step = self.config.last_trained_step if return_all_steps and step is None else answering_step
        proposals, predictions_per_step = None, []
        for current in range(last_step + 1):
            results = self.localize_step(
                videos,
                current,
                proposals,
                with_pseudo=current < last_step,
                return_curves=return_curves,
                batch_size=batch_size,
            )
            predictions_per_step.append([result["test"] for result in results])
            proposals = [result.get("pseudo") for result in results]
        return predictions_per_step if return_all_steps else predictions_per_step[-1]

    def answering_step(self, step: int | None = None) -> int:
        """Give the index of the step that answers when `step` is asked for; None leaves it to the configuration.

        Raises:
            ValueError: when no step is trained or not the one asked for.
        """
        last_step = self.config.last_trained_step
        if last_step < 0:
            raise ValueError(
                "this checkpoint holds no trained step (num_trained_steps is 0), train it before localize"
            )
        if step is not None and not 0 <= step <= last_step:
            raise ValueError(f"step must be one of the trained steps, 0 to {last_step}, got {step}")
        if step is None and self.config.answering_step is not None:
            step = min(self.config.answering_step, last_step)
        return last_step if step is None else step

    @torch.inference_mode()
    def localize_step(
        self,
        videos: Sequence[np.ndarray],
        step: int,
        proposals: Sequence[Prediction] | None = None,
        *,
        label_sets: Sequence[Sequence[int] | None] | None = None,
        with_pseudo: bool = False,
        return_curves: bool = False,
        batch_size: int = 8,
    ) -> list[dict[str, Any]]:
        """Run one step of the cascade over whole videos.

        Args:
            videos: per video (L, C) features.
            step: index of the network.
            proposals: per video the previous step's `"pseudo"` result; needed from step 1.
            label_sets: per video the classes whose proposals count (training videos: their labels), `None` for all
                predicted ones.
            with_pseudo: also thresholds the curves as proposals for the next step.
            return_curves: see `localize`.
            batch_size: videos in one forward pass.

        Returns:
            Per video a dict with `"test"`, `"video_scores"` (K + 1,) and, when asked for, `"pseudo"`.
        """
        if step > 0 and proposals is None:
            raise ValueError(f"step {step} needs the proposals of step {step - 1}; `localize` runs the whole cascade")
        was_training, results = self.training, []
        self.eval()
        for start in range(0, len(videos), batch_size):
            indices = range(start, min(start + batch_size, len(videos)))
            guided = [
                guide_snippets(
                    videos[index],
                    proposals[index] if step > 0 else None,
                    None if label_sets is None else label_sets[index],
                    self.config,
                    sample_uniform,
                )
                for index in indices
            ]
            output = self._forward_guided(guided, step)
            class_scores, cas = output.class_scores.cpu().numpy(), output.foreground_cas.cpu().numpy()
            attention = output.attention[..., 0].float().cpu().numpy()
            for row, index in enumerate(indices):
                length = len(guided[row].snippets)
                curves = _Curves(class_scores[row], cas[row, :length], attention[row, :length], guided[row].warp)
                result = {
                    "test": self._segments(curves, len(videos[index]), self.config.test_stages),
                    "video_scores": curves.class_scores,
                }
                if with_pseudo:
                    result["pseudo"] = self._segments(curves, len(videos[index]), self.config.pseudo_stages)
                if return_curves:
                    result["test"].update(self._named_curves(curves, len(videos[index])))
                results.append(result)
        self.train(was_training)
        return results

    def _forward_guided(self, guided: Sequence[GuidedSnippets], step: int) -> AsmLocOutput:
        """Pad the videos of a batch to one length and run the step on them."""
        lengths = torch.tensor([len(video.snippets) for video in guided])
        counts = torch.tensor([len(video.boxes) for video in guided])
        features = nn.utils.rnn.pad_sequence([torch.from_numpy(video.snippets) for video in guided], batch_first=True)
        boxes = nn.utils.rnn.pad_sequence([torch.from_numpy(video.boxes) for video in guided], batch_first=True)
        attention_mask = torch.arange(features.shape[1]) < lengths[:, None]
        return self(
            input_features=features.to(self.device, self.dtype),
            attention_mask=None if bool(attention_mask.all()) else attention_mask.to(self.device),
            proposal_boxes=boxes.to(self.device),
            num_proposals=counts.to(self.device),
            step=step,
            return_dict=True,
        )

    def _segments(self, curves: "_Curves", num_features: int, stages: list[dict[str, Any]]) -> Prediction:
        return localize_segments(
            curves.class_scores,
            curves.cas,
            curves.attention,
            num_features,
            stages=stages,
            class_threshold=self.config.class_threshold,
            upsample_scale=self.config.upsample_scale,
            feature_anchor=self.config.feature_anchor,
            nms_threshold=self.config.nms_threshold,
            frames_per_second=self.config.frames_per_second,
            frames_per_snippet=self.config.frames_per_snippet,
            warp=curves.warp,
        )

    def _named_curves(self, curves: "_Curves", num_features: int) -> dict[str, np.ndarray]:
        """Name the curves for drawing, with the time of each snippet's middle in seconds of the video."""
        duration = num_features * self.config.frames_per_snippet / self.config.frames_per_second
        times = (np.arange(len(curves.attention)) + 0.5) / len(curves.attention) * duration
        if curves.warp is not None:
            times = curves.warp.to_original_seconds(times, duration)
        return {"attention": curves.attention, "class_scores": curves.cas[:, :-1], "curve_times": times}

    def _as_videos(self, features: Any) -> list[np.ndarray]:
        """Give one (L, C) float32 array per video, from every form that `localize` takes."""
        if isinstance(features, Mapping):
            lengths = features["attention_mask"].sum(-1).tolist()
            if "num_features" in features and torch.as_tensor(features["num_features"]).tolist() != lengths:
                raise ValueError(
                    "localize needs all feature rows of a video but these were sampled; call the processor with "
                    "sampling=None"
                )
            features = [rows[:length] for rows, length in zip(features["input_features"], lengths, strict=True)]
        elif not isinstance(features, list | tuple):
            features = [features]
        videos = [np.asarray(torch.as_tensor(video).cpu(), dtype=np.float32) for video in features]
        for index, video in enumerate(videos):
            if video.ndim != 2 or not len(video) or video.shape[1] != self.config.hidden_size:
                raise ValueError(
                    f"features of video {index} must have shape (rows, {self.config.hidden_size}) with at least one "
                    f"row, got {video.shape}"
                )
            if not np.isfinite(video).all():
                row = int(np.flatnonzero(~np.isfinite(video).all(1))[0])
                raise ValueError(f"features of video {index} hold NaN or infinite values, first in row {row}")
        return videos

    def _checked_step(self, step: int | None) -> int:
        step = max(self.config.last_trained_step, 0) if step is None else step
        if not 0 <= step < len(self.steps):
            raise ValueError(f"step must be between 0 and {len(self.steps) - 1} for this cascade, got {step}")
        return step

    def _check_features(self, input_features: torch.Tensor, attention_mask: torch.Tensor | None) -> None:
        if input_features.ndim != 3 or input_features.shape[2] != self.config.hidden_size:
            raise ValueError(
                f"input_features must have shape (batch, snippets, {self.config.hidden_size}), got "
                f"{tuple(input_features.shape)}"
            )
        if attention_mask is not None and attention_mask.shape != input_features.shape[:2]:
            raise ValueError(
                f"attention_mask must have shape {tuple(input_features.shape[:2])} like input_features, got "
                f"{tuple(attention_mask.shape)}"
            )
        if attention_mask is not None and not bool(attention_mask.any(1).all()):
            masked = int((~attention_mask.any(1)).nonzero()[0])
            raise ValueError(f"attention_mask is 0 for every snippet of video {masked}; leave videos without any out")

    def _checked_proposals(
        self,
        step: int,
        proposal_boxes: torch.Tensor | None,
        num_proposals: torch.Tensor | None,
        batch_size: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Check the boxes' shape, count them all when no number is given and keep at least one (empty) slot."""
        if proposal_boxes is None:
            raise ValueError(
                f"step {step} needs proposal_boxes from step {step - 1}; `localize` runs the whole cascade for you"
            )
        if proposal_boxes.ndim != 3 or len(proposal_boxes) != batch_size or proposal_boxes.shape[2] != 2:
            raise ValueError(
                f"proposal_boxes must have shape ({batch_size}, proposals, 2), got {tuple(proposal_boxes.shape)}"
            )
        if num_proposals is None:
            num_proposals = proposal_boxes.new_full((batch_size,), proposal_boxes.shape[1])
        if proposal_boxes.shape[1] == 0:
            proposal_boxes = proposal_boxes.new_zeros(batch_size, 1, 2)
        return proposal_boxes, num_proposals

    def _losses(
        self,
        output: AsmLocOutput,
        labels: torch.Tensor,
        pseudo_labels: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
    ) -> dict[str, torch.Tensor]:
        """Return the loss terms and, as `loss`, their weighted sum."""
        config = self.config
        expected = (len(output.logits), config.num_labels)
        if labels.shape != expected:
            raise ValueError(f"labels must be multi-hot of shape {expected}, got {tuple(labels.shape)}")
        # On an accelerator this look would stall the step; there a video without a class ends in the loop's NaN stop.
        if labels.device.type == "cpu" and not bool((labels > 0).any(1).all()):
            video = int((labels > 0).any(1).logical_not().nonzero()[0])
            raise ValueError(f"labels of video {video} of this batch name no class, every training video needs one")
        action = nn.functional.pad(labels.float() / labels.float().sum(1, keepdim=True), (0, 1))
        background = nn.functional.pad(torch.zeros_like(action[:, 1:]), (0, 1), value=1.0)
        background_scores = output.background_logits.float().softmax(-1)
        losses = {
            "foreground_loss": soft_cross_entropy(output.class_scores, action),
            "background_loss": soft_cross_entropy(background_scores, background),
            "context_loss": soft_cross_entropy(background_scores, action),
        }
        total = (
            config.foreground_loss_weight * losses["foreground_loss"]
            + config.background_loss_weight * losses["background_loss"]
            + config.context_loss_weight * losses["context_loss"]
        )
        if pseudo_labels is not None and output.uncertainty is not None:
            losses["instance_loss"] = uncertain_cross_entropy(
                output.cas_logits.float().softmax(-1),
                pseudo_labels,
                output.uncertainty,
                config.uncertainty_loss_weight,
                attention_mask,
            )
            total = total + config.instance_loss_weight * losses["instance_loss"]
        return {"loss": total, **losses}


@dataclass(frozen=True)
class _Curves:
    """One video's scores (K + 1,), class activations (T, K + 1), foreground attention (T,) and time warp."""

    class_scores: np.ndarray
    cas: np.ndarray
    attention: np.ndarray
    warp: TimeWarp | None
