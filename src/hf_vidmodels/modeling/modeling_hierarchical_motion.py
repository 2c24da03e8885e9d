"""Hierarchical contrastive motion learning: Yang et al., "Hierarchical Contrastive Motion Learning for Video Action
Recognition", BMVC 2021, arXiv 2007.10321. No code of the paper is public; what is stated there and what is our
reconstruction is said in `layers/motion_levels.py`.

Motion features at several stages of a residual video network are learned from frames alone: the lowest by
reconstructing frames from those after them, each above by predicting what the one below will be. A classifier then
adds them to the maps of the network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from ..configuration.configuration_hierarchical_motion import FINETUNE, JOINT, HierarchicalMotionConfig
from ..configuration.configuration_video_resnet import MULTI_LABEL
from .backbones.video_resnet import VideoResNetModel, VideoResNetPreTrainedModel, slow_frame_index
from .layers.motion_levels import DisplacementHead, MotionBlock, MotionFusion, MotionPredictor
from .ops.classification_loss import classification_loss
from .ops.contrastive_loss import contrastive_loss
from .ops.frame_reconstruction import photometric_loss, smoothness_loss, warp


@dataclass
class HierarchicalMotionPreTrainingOutput(ModelOutput):
    """What is learned from B clips without labels.

    Args:
        loss: sum over the levels that learn, float32.
        level_losses: (levels that learn,) of each.
        contrastive_accuracies: (levels that learn, without the prime one,) share of predictions that are nearer to
            their own feature than to all others.
        motion_features: of each level up to the highest that learns (B, D, T, H, W).
        last_hidden_state: of the highest of them.
        displacement: (B, 2, T, H, W), how far (x, y) places move until the next frame, in cells of the prime level's
            map; of the last frame it means nothing.
    """

    loss: torch.Tensor | None = None
    level_losses: torch.Tensor | None = None
    contrastive_accuracies: torch.Tensor | None = None
    motion_features: tuple[torch.Tensor, ...] | None = None
    last_hidden_state: torch.Tensor | None = None
    displacement: torch.Tensor | None = None


@dataclass
class HierarchicalMotionOutput(ModelOutput):
    """What the classifier says of B clips.

    Args:
        loss: cross entropy (binary for several labels a clip), in phase `"joint"` and in training with the losses of
            motion, float32; only with labels.
        logits: (B, num_labels) before softmax or sigmoid.
        level_losses: (levels,) losses of motion; where they are in `loss`.
        motion_features: of each level (B, D, T, H, W).
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    level_losses: torch.Tensor | None = None
    motion_features: tuple[torch.Tensor, ...] | None = None


@dataclass
class Reconstruction(ModelOutput):
    """Frames of B clips as made from those after them, all of T - 1 but the last.

    Args:
        frames: (B, T - 1, C, H, W) in [0, 1], as they are.
        reconstructed: likewise, as made.
        mask: (B, T - 1, 1, H, W), 1 where the place that a pixel is taken from lies inside the frame.
        displacement: (B, T - 1, 2, H, W), how far (x, y) each pixel moves until the next frame, in pixels.
    """

    frames: torch.Tensor | None = None
    reconstructed: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    displacement: torch.Tensor | None = None


class HierarchicalMotionPreTrainedModel(VideoResNetPreTrainedModel):
    """What both models share: the network with motion blocks, and the losses of motion."""

    config: HierarchicalMotionConfig
    config_class = HierarchicalMotionConfig
    _no_split_modules = ["Bottleneck", "MotionBlock"]
    # Made for learning alone.
    _keys_to_ignore_on_load_unexpected = [r"^displacement_head\.", r"^predictors\."]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, DisplacementHead):
            init.normal_(module.weight, std=module.initial_std)

    def _make_heads(self) -> None:
        """Make what learning motion needs and answering does not."""
        levels = range(1, self.config.num_levels)
        self.displacement_head = DisplacementHead(self.config)
        self.predictors = nn.ModuleList(MotionPredictor(self.config, level) for level in levels)

    def frames_of(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Undo the normalisation of the frames that the maps are of.

        Args:
            pixel_values: (B, T, C, H, W); of SlowFast those of the slow pathway are taken.

        Returns:
            (B, T', C, H', W') in [0, 1], at least float32, smaller by `reconstruction_downscale`.
        """
        config = self.config
        if config.backbone_config.num_pathways == 2:
            index = slow_frame_index(pixel_values.shape[1], config.backbone_config.alpha, pixel_values.device)
            pixel_values = pixel_values[:, index]
        frames = pixel_values.to(torch.promote_types(pixel_values.dtype, torch.float32))
        shape = (1, 1, -1, 1, 1)
        frames = frames * frames.new_tensor(config.pixel_std).view(shape)
        frames = frames + frames.new_tensor(config.pixel_mean).view(shape)
        if config.reconstruction_downscale > 1:
            small = nn.functional.avg_pool2d(frames.flatten(0, 1), config.reconstruction_downscale)
            frames = small.unflatten(0, frames.shape[:2])
        return frames

    def reconstruct(self, pixel_values: torch.Tensor, displacement: torch.Tensor) -> Reconstruction:
        """Make every frame but the last from the one after it.

        Args:
            pixel_values: (B, T, C, H, W) normalised frames.
            displacement: (B, 2, T', h, w) in cells, as the model for pre-training gives it.

        Raises:
            ValueError: clips of a single frame.
        """
        frames = self.frames_of(pixel_values)
        if frames.shape[1] < 2:
            raise ValueError(f"motion needs clips of 2 frames or more, got {frames.shape[1]}")
        flow = displacement[:, :, :-1].transpose(1, 2).to(frames.dtype)
        size, cells = frames.shape[-2:], flow.shape[-2:]
        flow = nn.functional.interpolate(flow.flatten(0, 1), size=size, mode="bilinear", align_corners=False)
        flow = flow * flow.new_tensor([size[1] / cells[1], size[0] / cells[0]]).view(1, 2, 1, 1)
        shape = (len(frames), -1)
        reconstructed, mask = warp(frames[:, 1:].flatten(0, 1), flow)
        return Reconstruction(
            frames=frames[:, :-1],
            reconstructed=reconstructed.unflatten(0, shape),
            mask=mask.unflatten(0, shape),
            displacement=flow.unflatten(0, shape),
        )

    def level_loss(
        self, level: int, motion: Sequence[torch.Tensor], pixel_values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Give the loss of one level, and the share of right predictions (None of the prime level).

        Args:
            level: its number.
            motion: features of this level and those below it.
            pixel_values: (B, T, C, H, W) normalised frames.
        """
        config = self.config
        if level == 0:
            with torch.autocast(pixel_values.device.type, enabled=False):
                head = self.displacement_head
                found = self.reconstruct(pixel_values, head(motion[0].to(head.weight.dtype)))
                frames, made, mask, flow = (part.flatten(0, 1) for part in found.to_tuple())
                loss = photometric_loss(frames, made, mask, config.charbonnier_eps, config.ssim_weight)
                return loss + config.smoothness_weight * smoothness_loss(flow, frames, config.edge_weight), None
        features, target = motion[level], motion[level - 1]
        if config.target_stop_gradient:
            target = target.detach()
        predicted = self.predictors[level - 1](features)
        # Backbones that join frames between two levels leave the lower one more of them.
        target = nn.functional.adaptive_avg_pool3d(target, predicted.shape[2:])
        if config.contrast_pool_size is not None:
            side = config.contrast_pool_size
            grid = (predicted.shape[2], *(min(side, length) for length in predicted.shape[3:]))
            predicted, target = (nn.functional.adaptive_avg_pool3d(maps, grid) for maps in (predicted, target))
        return contrastive_loss(
            predicted,
            target,
            offset=config.prediction_offset,
            similarity=config.contrastive_similarity,
            temperature=config.temperature,
            negatives=config.negatives,
            max_negatives=config.max_negatives,
        )


class HierarchicalMotionForPreTraining(HierarchicalMotionPreTrainedModel):
    """A residual video network that learns motion from clips without labels.

    `config.training_phase` is the number of the level that learns, or `"joint"` for all at once. What lies below that
    level is frozen, with its batch norms in evaluation mode; what lies above is not run.

    Example:
        >>> model = AutoModelForPreTraining.from_pretrained("org/hierarchical-motion-slow-r50")
        >>> model(pixel_values).loss   # (B, T, 3, H, W), normalised
    """

    def __init__(self, config: HierarchicalMotionConfig) -> None:
        super().__init__(config)
        self.backbone = VideoResNetModel(config.backbone_config)
        self.motion_blocks = nn.ModuleList(MotionBlock(config, level) for level in range(config.num_levels))
        self._make_heads()
        self.post_init()
        self.start_phase(config.training_phase)

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load a saved model, see transformers; what its phase freezes is frozen."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.start_phase(model.config.training_phase)
        return loaded

    @property
    def learning_levels(self) -> range:
        """Numbers of the levels that learn."""
        phase, count = self.config.training_phase, self.config.num_levels
        return range(phase, phase + 1) if isinstance(phase, int) else range(count)

    def start_phase(self, phase: int | str) -> None:
        """Let one level learn and freeze the rest; `"joint"` (and `"finetune"`, of a classifier) all levels.

        Raises:
            ValueError: there is no such level.
        """
        self.config.training_phase = phase
        self.config.validate_choices()
        self.requires_grad_(False)
        for part in self._learning_parts():
            part.requires_grad_(True)
        self.train(self.training)

    def train(self, mode: bool = True) -> "HierarchicalMotionForPreTraining":
        """Set the mode, see torch; frozen parts stay in evaluation mode."""
        super().train(mode)
        if mode:
            for part in (self.backbone, self.motion_blocks):
                part.eval()
            for part in self._learning_parts():
                part.train()
        return self

    def _learning_parts(self) -> list[nn.Module]:
        """Give what a phase trains: the network from behind the level below, block and head of each level."""
        levels, stages = self.learning_levels, self.config.level_stages
        first = stages[levels[0] - 1] + 1 if levels[0] else 0
        parts: list[nn.Module] = list(self.backbone.parts_of_stages(first, stages[levels[-1]]))
        for level in levels:
            parts += [self.motion_blocks[level], self.predictors[level - 1] if level else self.displacement_head]
        return parts

    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, return_dict: bool | None = None
    ) -> HierarchicalMotionPreTrainingOutput | tuple[Any, ...]:
        """Learn from clips.

        Args:
            pixel_values: (B, T, C, H, W) normalised frames.
            labels: not used; classifiers and this model train on the same batches.
            return_dict: `False` for a tuple.

        Raises:
            ValueError: for anything but clips, too few frames, or a batch without negatives.
        """
        levels = self.learning_levels
        motion = self.motion_features(pixel_values)
        found = [self.level_loss(level, motion, pixel_values) for level in levels]
        losses = torch.stack([loss for loss, _ in found])
        accuracies = [accuracy for _, accuracy in found if accuracy is not None]
        with torch.no_grad():
            displacement = self.displacement_head(motion[0])
        output = HierarchicalMotionPreTrainingOutput(
            loss=losses.sum(),
            level_losses=losses.detach(),
            contrastive_accuracies=torch.stack(accuracies) if accuracies else losses.new_zeros(0),
            motion_features=motion,
            last_hidden_state=motion[-1],
            displacement=displacement,
        )
        return output if self._asked_for("return_dict", return_dict) else output.to_tuple()

    def motion_features(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Give the features of every level up to the highest that learns (B, D, T, H, W), and run no more."""
        motion: list[torch.Tensor] = []

        def read(level: int, maps: torch.Tensor) -> torch.Tensor:
            motion.append(self.motion_blocks[level](maps))
            return maps

        seams = self.config.level_seams[: self.learning_levels[-1] + 1]
        filters = {seam: partial(read, level) for level, seam in enumerate(seams)}
        self.backbone(pixel_values, map_filters=filters, last_stage=seams[-1][0])
        return tuple(motion)

    def describe(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Give one vector a clip, the means of the features of all levels (B, sum of their channels)."""
        return torch.cat([features.mean((2, 3, 4)) for features in self.motion_features(pixel_values)], dim=1)


class HierarchicalMotionForVideoClassification(HierarchicalMotionPreTrainedModel):
    """A residual video network whose maps are joined by motion features, and a linear classifier.

    The weights of a model for pre-training open in it; fusions and classifier are then new.

    Example:
        >>> model = AutoModelForVideoClassification.from_pretrained("org/hierarchical-motion-slow-r50-k400")
        >>> model(pixel_values).logits.argmax(-1)   # (B, T, 3, H, W), normalised
    """

    def __init__(self, config: HierarchicalMotionConfig) -> None:
        super().__init__(config)
        levels = range(config.num_levels if config.fusion_type != "none" else 0)
        self.backbone = VideoResNetModel(config.backbone_config)
        self.motion_blocks = nn.ModuleList(MotionBlock(config, level) for level in levels)
        self.fusions = nn.ModuleList(MotionFusion(config, level) for level in levels)
        self.displacement_head = None
        if self.learns_motion:
            self._make_heads()
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.backbone_config.feature_width, config.num_labels)
        self.post_init()

    @property
    def learns_motion(self) -> bool:
        """Whether the losses of motion are part of the loss."""
        config = self.config
        return config.training_phase == JOINT and config.motion_loss_weight > 0 and config.fusion_type != "none"

    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        pixel_values_slow: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> HierarchicalMotionOutput | tuple[Any, ...]:
        """Classify clips.

        Args:
            pixel_values: (B, T, C, H, W) normalised frames; SlowFast takes the slow pathway's among them.
            labels: class ids (B,), target probabilities (B, num_labels), or for a multi-label model 0 and 1
                (B, num_labels); gives a loss. Training needs them.
            pixel_values_slow: (B, T / alpha, C, H, W) frames of SlowFast's slow pathway, where they are not those; not
                where motion is learned.
            return_dict: `False` for a tuple.

        Raises:
            ValueError: for clips or labels that do not fit, or where training in phase `"joint"` has no labels.
        """
        config = self.config
        if self.training and self.learns_motion and labels is None:
            raise ValueError(
                "training in phase 'joint' needs labels; learn motion without them by HierarchicalMotionForPreTraining"
            )
        motion: list[torch.Tensor] = []
        filters = {
            seam: self._fuse(level, motion) for level, seam in enumerate(config.level_seams[: len(self.motion_blocks)])
        }
        features = self.backbone(pixel_values, pixel_values_slow, filters)
        logits = self.classifier(self.dropout(features.pooler_output))
        loss = level_losses = None
        if labels is not None:
            loss = classification_loss(logits, labels, multi_label=config.problem_type == MULTI_LABEL)
            if self.learns_motion and self.training:
                losses = [self.level_loss(level, motion, pixel_values)[0] for level in range(config.num_levels)]
                level_losses = torch.stack(losses)
                loss = loss + config.motion_loss_weight * level_losses.sum()
        output = HierarchicalMotionOutput(
            loss=loss,
            logits=logits,
            level_losses=None if level_losses is None else level_losses.detach(),
            motion_features=tuple(motion),
        )
        return output if self._asked_for("return_dict", return_dict) else output.to_tuple()

    def _fuse(self, level: int, motion: list[torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
        """Give what reads a map, keeps its motion features and adds them to it."""

        def fuse(maps: torch.Tensor) -> torch.Tensor:
            motion.append(self.motion_blocks[level](maps))
            return self.fusions[level](maps, motion[-1])

        return fuse


def pretraining_view(classifier: HierarchicalMotionForVideoClassification) -> HierarchicalMotionForPreTraining:
    """Give a model for pre-training whose network and motion blocks are a classifier's own.

    Displacement head and predictors are the classifier's too, where it has them, and new otherwise.
    """
    config = type(classifier.config).from_dict(classifier.config.to_dict())
    config.training_phase = JOINT if config.training_phase == FINETUNE else config.training_phase
    view = HierarchicalMotionForPreTraining(config)
    view.backbone, view.motion_blocks = classifier.backbone, classifier.motion_blocks
    if classifier.displacement_head is not None:
        view.displacement_head, view.predictors = classifier.displacement_head, classifier.predictors
    return view.to(classifier.device)
