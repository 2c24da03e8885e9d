"""MAL: Lan et al., "Vision Transformers Are Good Mask Auto-Labelers", CVPR 2023, arXiv 2301.03992. Written from facts
about the official code (NVlabs/mask-auto-labeler, commit 0ab9be4), which is not free to copy.

A picture and a box per object go in, one mask per box comes out; boxes alone are the supervision. A plain ViT encodes
the crop around a box, one instance vector (K head) meets a map of pixel vectors (V head) in an inner product. Rows and
columns of the mask must agree with the box, and the mask with what a colour CRF makes of the mean of student and
teacher.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import BaseImageProcessor
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.utils import ModelOutput

from ..configuration.configuration_mal import NETWORKS, UPSAMPLE_BEFORE_LAYER, MalConfig
from .backbones.vit import VisionTransformer
from .layers.starting_weights import start_uniform
from .modeling_base import VidModelsPreTrainedModel, refuse_integers
from .ops.box_sizes import size_buckets
from .ops.mask_losses import box_bag_loss, crf_loss

# In the mean of the bag loss over a batch.
BATCH_GUARD = 0.0001
SINGLE_SCALE_ENLARGEMENT = 4
MASK_STRIDE = 4


@dataclass
class MalOutput(ModelOutput):
    """Masks of B crops and, in training, their losses. The mask has 4 times the rows and columns of the token grid.

    Args:
        loss: `loss_mil + loss_crf`, float32; only with `box_mask`.
        logits: (B, 1, 4g, 4g) of the network that was asked, the student in training.
        loss_mil: bag loss of the box, weighted.
        loss_crf: self-training loss, weighted.
        refined_masks: (B, 4g, 4g) targets of the self-training loss, zeros and ones (larger by `crf_size_ratio`).
        teacher_logits: (B, 1, 4g, 4g) of the teacher, where it took part.
        hidden_states: tokens (B, 1 + g * g, D) before and after every block of the network that was asked.
        attentions: (B, heads, 1 + g * g, 1 + g * g) of every block.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    loss_mil: torch.Tensor | None = None
    loss_crf: torch.Tensor | None = None
    refined_masks: torch.Tensor | None = None
    teacher_logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class MalInstanceHead(nn.Module):
    """K head: the mean token of a crop to its instance vector, (B, D, g, g) to (B, C)."""

    def __init__(self, config: MalConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.encoder_config.hidden_size, config.mask_embed_size)
        self.fc2 = nn.Linear(config.mask_embed_size, config.mask_embed_size)

    def forward(self, feature_map: torch.Tensor) -> torch.Tensor:
        """Embed the crop's object."""
        return self.fc2(self.fc1(feature_map.mean((2, 3))).relu())


class MalPixelHead(nn.Module):
    """V head: (B, D, h, w) to one vector per pixel of a larger map, (B, C, r h, r w), none of it negative."""

    def __init__(self, config: MalConfig) -> None:
        super().__init__()
        hidden = [config.mask_head_hidden_size] * (config.mask_head_num_layers - 1)
        widths = [config.encoder_config.hidden_size, *hidden, config.mask_embed_size]
        self.upsample_ratio = config.mask_upsample_ratio
        self.layers = nn.ModuleList(
            nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)
            for inputs, outputs in zip(widths[:-1], widths[1:], strict=True)
        )

    def forward(self, feature_map: torch.Tensor) -> torch.Tensor:
        """Embed the pixels."""
        for index, layer in enumerate(self.layers):
            if index == UPSAMPLE_BEFORE_LAYER:
                feature_map = resize(feature_map, [int(side * self.upsample_ratio) for side in feature_map.shape[-2:]])
            feature_map = layer(feature_map).relu()
        return feature_map


class MalNetwork(nn.Module):
    """One network, student or teacher: encoder, K head and V head."""

    def __init__(self, config: MalConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = VisionTransformer(config.encoder_config)
        self.instance_head = MalInstanceHead(config)
        self.pixel_head = MalPixelHead(config)

    def forward(
        self, pixel_values: torch.Tensor, areas: torch.Tensor | None, **encoder_options: bool
    ) -> tuple[torch.Tensor, BaseModelOutput]:
        """Give float32 logits (B, 1, 4g, 4g) of (B, 3, S, S) crops, and what the encoder found.

        Args:
            pixel_values: normalised crops.
            areas: (B,) of the boxes in square pixels, on the CPU; not needed without size buckets.
            encoder_options: what further outputs the encoder gives.
        """
        encoded = self.encoder(pixel_values, **encoder_options)
        grid = pixel_values.shape[-1] // self.config.encoder_config.patch_size
        feature_map = encoded.last_hidden_state[:, 1:].transpose(1, 2).unflatten(2, (grid, grid))
        instances = self.instance_head(feature_map)
        if self.config.use_size_buckets:
            logits = self._decode_in_buckets(instances, feature_map, areas)
        else:
            side = int(grid * self.config.single_scale_ratio)
            logits = self._decode(instances, resize(feature_map, [side, side]))
            logits = resize(logits, [SINGLE_SCALE_ENLARGEMENT * side for side in logits.shape[-2:]])
        return logits, encoded

    def _decode_in_buckets(
        self, instances: torch.Tensor, feature_map: torch.Tensor, areas: torch.Tensor
    ) -> torch.Tensor:
        """Decode small, medium and large objects at half, once and twice the token grid."""
        grid = feature_map.shape[-1]
        mask_size = [MASK_STRIDE * grid] * 2
        buckets = size_buckets(areas, self.config.size_bounds, self.config.strict_bucket_bounds)
        rows_of, logits_of = [], []
        for bucket in range(3):
            rows = (buckets == bucket).nonzero().squeeze(1)
            if len(rows) == 0:
                continue
            # The common case of one bucket needs no gathering.
            everything = len(rows) == len(areas)
            rows = rows.to(feature_map.device, non_blocking=True)
            side = max(int(grid * 2.0 ** (bucket - 1)), 1)
            chosen_map, chosen = (feature_map, instances) if everything else (feature_map[rows], instances[rows])
            decoded = resize(self._decode(chosen, resize(chosen_map, [side, side])), mask_size)
            if everything:
                return decoded
            rows_of.append(rows)
            logits_of.append(decoded)
        if not rows_of:
            # No row is in a bucket: zero logits that still reach every parameter, as distributed training demands.
            return resize(self._decode(instances, feature_map) * 0.0, mask_size)
        logits = logits_of[0].new_zeros(len(areas), 1, *mask_size)
        return logits.index_copy(0, torch.cat(rows_of), torch.cat(logits_of))

    def _decode(self, instances: torch.Tensor, feature_map: torch.Tensor) -> torch.Tensor:
        """Give (B, 1, h, w) inner products; in float32, because sums of unbounded terms overflow in half precision."""
        pixels = self.pixel_head(feature_map)
        with torch.autocast(pixels.device.type, enabled=False):
            products = instances.float()[:, None] @ pixels.float().flatten(2)
        return products.unflatten(2, pixels.shape[-2:])


class MalForMaskLabeling(VidModelsPreTrainedModel):
    """Student, teacher or both: masks of objects from their boxes.

    `label_masks` answers for whole pictures. `forward` takes crops, for training and for inspection;
    `mask_probabilities` is in between, for labelling at scale. Which networks there are is in the configuration
    (`use_student`, `use_teacher`) and in a saved repository alike. The teacher never learns by gradients: call
    `update_teacher` after every optimiser step.

    Args:
        config: the configuration.
        inference_only: hold only what `config.inference_network` needs; also taken by `from_pretrained`, which then
            reads no other weights.

    Example:
        >>> model = AutoModel.from_pretrained("org/mal-vit-mae-base", inference_only=True)
        >>> model.label_masks("street.jpg", [[20.0, 31.5, 180.0, 240.0]])[0]["masks"]   # (1, H, W) bool
    """

    config: MalConfig
    config_class = MalConfig
    base_model_prefix = "mask_auto_labeler"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _no_split_modules = ["VisionTransformerEmbeddings", "VisionTransformerBlock", "MalPixelHead"]
    # A repository with both networks may be opened for one of them.
    _keys_to_ignore_on_load_unexpected = [r"^student\.", r"^teacher\."]

    def __init__(self, config: MalConfig, inference_only: bool = False) -> None:
        if inference_only:
            config = copy.deepcopy(config)
            config.use_student = config.inference_network in ("student", "mixed")
            config.use_teacher = config.inference_network in ("teacher", "mixed")
        super().__init__(config)
        self.student = MalNetwork(config) if config.use_student else None
        self.teacher = MalNetwork(config) if config.use_teacher else None
        self.post_init()
        if config.teacher_init == "copy":
            self._copy_student_to_teacher()
        self._freeze()

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **kwargs: Any) -> Any:
        """Load a saved model, see transformers.

        A network that the configuration asks for and the checkpoint lacks begins as a copy of the other one, so that
        `from_pretrained(path, use_student=True, use_teacher=True)` goes on training from either.
        """
        model, info = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        completed = model._complete(info["missing_keys"])
        model.random_weights = tuple(name for name in model.random_weights if not name.startswith(completed))
        model._freeze()
        return (model, info) if output_loading_info else model

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            start_uniform(module)

    def train(self, mode: bool = True) -> "MalForMaskLabeling":
        """Set the mode; the teacher stays in evaluation mode."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def forward(
        self,
        pixel_values: torch.Tensor,
        boxes: torch.Tensor | Sequence[Sequence[float]] | None = None,
        box_mask: torch.Tensor | None = None,
        teacher_pixel_values: torch.Tensor | None = None,
        loss_step: int | None = None,
        epoch: int | None = None,
        network: str | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> MalOutput | tuple[torch.Tensor, ...]:
        """Give the mask logits of crops, and with `box_mask` the losses of a training step.

        Args:
            pixel_values: (B, 3, S, S) normalised crops; in training what the student sees.
            boxes: (B, 4) xyxy in pixels of the source pictures, of which only the areas matter. A nested list (or a
                tensor on the CPU) spares an accelerator the wait for its queue.
            box_mask: (B, 1, S, S), 1 inside the box; asks for the losses.
            teacher_pixel_values: (B, 3, S, S) what the teacher sees; None = `pixel_values`.
            loss_step: optimiser steps already made (in the epoch or the run, as `loss_warmup_scope` counts), for the
                warm-up of the loss weights; None = full weights.
            epoch: epochs already made; None = 0.
            network: `"student"`, `"teacher"` or `"mixed"`, whose logits are given; None = the student with `box_mask`
                and `config.inference_network` without.
            output_hidden_states: also give the tokens of every block.
            output_attentions: also give attentions, which needs attention implementation `"eager"`.
            return_dict: `False` for a tuple. What is None of these three is as the configuration says.

        Raises:
            ValueError: for crops that are not square or do not divide into patches, boxes that are missing, of
                another number or empty, a loss without box mask, or a network that this checkpoint lacks.
        """
        self._check_crops(pixel_values)
        areas = self._checked_areas(boxes, len(pixel_values))
        if box_mask is None and not (teacher_pixel_values is None and loss_step is None and epoch is None):
            raise ValueError(
                "a loss needs box_mask (B, 1, S, S), 1 inside each box; leave out teacher_pixel_values, loss_step and "
                "epoch to have masks only"
            )
        if box_mask is not None and network not in (None, "student"):
            raise ValueError(f"a loss is for the student, leave out box_mask to ask network {network!r}")
        network = self._checked_network("student" if box_mask is not None else network)
        options = {
            "output_hidden_states": self._asked_for("output_hidden_states", output_hidden_states),
            "output_attentions": self._asked_for("output_attentions", output_attentions),
        }
        logits, teacher_logits, encoded = None, None, None
        if network in ("student", "mixed"):
            logits, encoded = self.student(pixel_values, areas, **options)
        if network in ("teacher", "mixed") or (box_mask is not None and self.teacher is not None):
            with torch.no_grad():
                view = pixel_values if teacher_pixel_values is None else teacher_pixel_values
                teacher_logits, teacher_encoded = self.teacher(view, areas, **(options if encoded is None else {}))
            encoded = teacher_encoded if encoded is None else encoded
        losses = {}
        if box_mask is not None:
            weights = self._loss_weights(loss_step, epoch)
            losses = self._losses(pixel_values, logits, teacher_logits, box_mask, weights)
        answer = {"student": logits, "teacher": teacher_logits}.get(network)
        if network == "mixed":
            answer = (logits + teacher_logits) / 2
        dtype = encoded.last_hidden_state.dtype
        output = MalOutput(
            logits=answer.to(dtype),
            teacher_logits=None if teacher_logits is None else teacher_logits.to(dtype),
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
            **losses,
        )
        return output if self._asked_for("return_dict", return_dict) else output.to_tuple()

    @torch.no_grad()
    def update_teacher(self) -> None:
        """Move the teacher towards the student: T = m T + (1 - m) S; to be called after every optimiser step.

        Raises:
            ValueError: when the model does not hold both networks.
        """
        if self.student is None or self.teacher is None:
            raise ValueError("update_teacher needs a model with use_student and use_teacher both true")
        theirs, ours = list(self.teacher.parameters()), list(self.student.parameters())
        torch._foreach_lerp_(theirs, ours, 1 - self.config.teacher_momentum)

    def drop_network(self, name: str) -> None:
        """Free one network, `"student"` or `"teacher"`, so that the other is saved alone.

        Raises:
            ValueError: when it is not there or the only one.
        """
        other = {"student": "teacher", "teacher": "student"}.get(name)
        if other is None or getattr(self, name) is None or getattr(self, other) is None:
            raise ValueError(f"cannot drop {name!r}: the model must hold it and the other network")
        setattr(self, name, None)
        setattr(self.config, f"use_{name}", False)
        self.config.inference_network = other

    @torch.inference_mode()
    def mask_probabilities(
        self,
        pixel_values: torch.Tensor,
        boxes: torch.Tensor | Sequence[Sequence[float]],
        box_mask: torch.Tensor | None = None,
        *,
        network: str | None = None,
        flip: bool | None = None,
        scales: Sequence[float] = (1.0,),
    ) -> torch.Tensor:
        """Give the probability of every pixel of crops, which may come from many pictures.

        Args:
            pixel_values: (N, 3, S, S), as `MalImageProcessor` makes them.
            boxes: (N, 4) xyxy in pixels of the source pictures.
            box_mask: (N, 1, S, S), 1 inside the box; what is outside gets 0. None: no cut.
            network: `"student"`, `"teacher"` or `"mixed"` (mean of the logits); None = `config.inference_network`.
            flip: also look at the mirror image and take the mean of the logits; None = `config.flip_test`.
            scales: sizes of the crop over S that are looked at; the mean of the logits is taken. Sides are rounded to
                whole patches.

        Returns:
            (N, S, S) float32 in [0, 1]. The model's mode is afterwards as before.

        Raises:
            ValueError: as `forward`, for scales that are not positive, and for logits that are no numbers.
        """
        if not scales or not all(0 < scale < math.inf for scale in scales):
            raise ValueError(f"scales must be positive factors of the crop size, got {list(scales)}")
        flip = self.config.flip_test if flip is None else flip
        was_training = self.training
        self.eval()
        size, patch = pixel_values.shape[-1], self.config.encoder_config.patch_size
        pixel_values = pixel_values.to(self.device, self.dtype)
        logits = []
        for scale in scales:
            side = max(round(size * scale / patch), 1) * patch
            crops = pixel_values if side == size else resize(pixel_values, [side, side], antialias=True)
            views = [self(crops, boxes, network=network, return_dict=True).logits]
            if flip:
                views.append(self(crops.flip(-1), boxes, network=network, return_dict=True).logits.flip(-1))
            logits += [resize(view.float(), [size, size]) for view in views]
        self.train(was_training)
        mean = torch.stack(logits).mean(0) if len(logits) > 1 else logits[0]
        if not bool(mean.isfinite().all()):
            crop = int((~mean.isfinite()).flatten(1).any(1).nonzero()[0])
            raise ValueError(
                f"the logits of crop {crop} of this batch are not finite; use float32 or bfloat16 instead of float16, "
                "and check the weights"
            )
        probabilities = mean.sigmoid()
        return (probabilities if box_mask is None else probabilities * box_mask.to(probabilities))[:, 0]

    def label_masks(
        self,
        images: Any,
        boxes: Any,
        *,
        processor: BaseImageProcessor | None = None,
        network: str | None = None,
        flip: bool | None = None,
        scales: Sequence[float] = (1.0,),
        batch_size: int = 8,
        encode_rle: bool = False,
    ) -> list[dict[str, Any]]:
        """Make the masks of objects in pictures from their boxes; crops of all pictures share batches.

        Args:
            images: one or a list of paths, bytes, PIL images, arrays (H, W, 3) or tensors (3, H, W).
            boxes: for one picture (n, 4) xyxy in its pixels, for a list of pictures a list of such.
            processor: cuts the crops and pastes the masks; None = the one that transformers knows for `self.config`
                (with this package `MalImageProcessor`), with the configuration's settings.
            network: see `mask_probabilities`.
            flip: see `mask_probabilities`.
            scales: see `mask_probabilities`.
            batch_size: crops in one forward pass.
            encode_rle: give `segmentation`, compressed RLE as pycocotools has it, instead of `masks`.

        Returns:
            Per picture what `MalImageProcessor.post_process_masks` gives: `masks` (n, H, W) bool or `segmentation`,
            `scores` (n,), `boxes` (n, 4) xyxy, `areas` (n,) mask pixels, `box_areas` (n,), in the order of the boxes.

        Raises:
            FileNotFoundError: a picture is missing.
            ValueError: for pictures or boxes that do not fit, see `MalImageProcessor.preprocess`, a missing processor
                that transformers does not know, and as `mask_probabilities`.
        """
        if processor is None:
            # Models import no processors: these are made of operations of models.
            processor_class = PROCESSOR_MAPPING.get(type(self.config), None)
            if processor_class is None:
                raise ValueError(
                    "label_masks knows no processor for this code; give processor=AutoImageProcessor.from_pretrained("
                    "..., trust_remote_code=True) or import hf_vidmodels first"
                )
            processor = processor_class.from_config(self.config)
        crops = processor(images, boxes)
        probabilities = torch.cat(
            [
                self.mask_probabilities(
                    crops["pixel_values"][rows],
                    crops["boxes"][rows],
                    crops["box_mask"][rows],
                    network=network,
                    flip=flip,
                    scales=scales,
                ).cpu()
                for rows in _slices(len(crops["boxes"]), batch_size)
            ]
            or [torch.zeros(0, self.config.image_size, self.config.image_size)]
        )
        return processor.post_process_masks(probabilities, crops, encode_rle=encode_rle)

    def _losses(
        self,
        pixel_values: torch.Tensor,
        logits: torch.Tensor,
        teacher_logits: torch.Tensor | None,
        box_mask: torch.Tensor,
        weights: tuple[float, float],
    ) -> dict[str, torch.Tensor]:
        """Return the weighted terms, their sum and the refined masks, all in float32."""
        config = self.config
        if box_mask.shape != (len(pixel_values), 1, *pixel_values.shape[-2:]):
            raise ValueError(
                f"box_mask must have shape {(len(pixel_values), 1, *pixel_values.shape[-2:])}, got "
                f"{tuple(box_mask.shape)}"
            )
        with torch.autocast(logits.device.type, enabled=False):
            size = logits.shape[-2:]
            student = logits.float().sigmoid()
            mask = resize(box_mask.float(), size)
            mean = student.detach() if teacher_logits is None else (student.detach() + teacher_logits.sigmoid()) / 2
            bags = box_bag_loss(student[:, 0], mask[:, 0])
            loss_mil = weights[0] * config.loss_mil_weight * bags.sum() / (len(bags) + BATCH_GUARD)
            crf_size = [int(side * config.crf_size_ratio) for side in size]
            student, mean, mask = (resize(value, crf_size)[:, 0] for value in (student, mean, mask))
            image = resize(pixel_values.float(), crf_size)
            distance, refined = crf_loss(
                student,
                mean,
                image,
                mask,
                kernel_size=config.crf_kernel_size,
                zeta=config.crf_zeta,
                num_iterations=config.crf_num_iterations,
                low=config.crf_low,
                high=config.crf_high,
                compat=config.crf_compat,
            )
            loss_crf = weights[1] * config.loss_crf_weight * distance
        return {"loss": loss_mil + loss_crf, "loss_mil": loss_mil, "loss_crf": loss_crf, "refined_masks": refined}

    def _loss_weights(self, loss_step: int | None, epoch: int | None) -> tuple[float, float]:
        """Return the shares of the bag and the self-training loss that the warm-up allows."""
        config = self.config
        over = loss_step is None or (config.loss_warmup_scope == "first_epoch" and bool(epoch))
        steps = (config.loss_mil_warmup_steps, config.loss_crf_warmup_steps)
        return tuple(1.0 if over or count == 0 else min(1.0, loss_step / count) for count in steps)

    def _check_crops(self, pixel_values: torch.Tensor) -> None:
        shape, encoder = tuple(pixel_values.shape), self.config.encoder_config
        if len(shape) != 4 or shape[1] != encoder.num_channels:
            raise ValueError(f"pixel_values must have shape (B, {encoder.num_channels}, S, S), got {shape}")
        refuse_integers(pixel_values)
        patch = encoder.patch_size
        if shape[2] != shape[3] or shape[2] % patch or shape[2] == 0:
            raise ValueError(f"crop size must be square and a multiple of {patch}, got {shape[2]} x {shape[3]}")

    def _checked_areas(self, boxes: Any, batch_size: int) -> torch.Tensor | None:
        """Give (B,) float32 areas on the CPU."""
        if boxes is None:
            if self.config.use_size_buckets:
                raise ValueError(
                    "boxes (B, 4) are missing: with use_size_buckets their areas choose the resolution of the masks"
                )
            return None
        boxes = torch.as_tensor(boxes, dtype=torch.float32).cpu()
        if boxes.shape != (batch_size, 4):
            raise ValueError(f"boxes must have shape ({batch_size}, 4), one for each crop, got {tuple(boxes.shape)}")
        width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        good = (width > 0) & (height > 0)
        if not bool(good.all()):
            index = int((~good).nonzero()[0])
            raise ValueError(
                f"box {index} must be (x0, y0, x1, y1) with x0 < x1 and y0 < y1, got {boxes[index].tolist()}"
            )
        return width * height

    def _checked_network(self, network: str | None) -> str:
        network = self.config.inference_network if network is None else network
        if network not in NETWORKS:
            raise ValueError(f"network must be one of {', '.join(map(repr, NETWORKS))}, got {network!r}")
        if (lacking := self.config.missing_network(network)) is not None:
            held = "student" if self.student is not None else "teacher"
            raise ValueError(f"this checkpoint holds the {held} only, but network {network!r} needs the {lacking}")
        return network

    def _complete(self, missing_keys: Sequence[str]) -> tuple[str, ...]:
        """Fill a network that the checkpoint lacked with the weights of the one that it had.

        Returns:
            The beginning of the names of the weights that were filled, if any.
        """
        if self.student is None or self.teacher is None:
            return ()
        for lacking, source in ((self.teacher, self.student), (self.student, self.teacher)):
            name = "teacher." if lacking is self.teacher else "student."
            if {f"{name}{key}" for key in lacking.state_dict()} <= set(missing_keys):
                lacking.load_state_dict(source.state_dict())
                return (name,)
        return ()

    def _copy_student_to_teacher(self) -> None:
        if self.student is not None and self.teacher is not None:
            self.teacher.load_state_dict(self.student.state_dict())

    def _freeze(self) -> None:
        """Take gradients from the teacher and from frozen stages of the student."""
        if self.teacher is not None:
            self.teacher.requires_grad_(False)
        if self.student is not None and self.config.frozen_stages is not None:
            self.student.encoder.freeze(*self.config.frozen_stages)


def resize(maps: torch.Tensor, size: Sequence[int], antialias: bool = False) -> torch.Tensor:
    """Resize (B, C, h, w) maps bilinearly, pixel edges aligned."""
    size = tuple(size)
    if tuple(maps.shape[-2:]) == size:
        return maps
    return nn.functional.interpolate(maps, size, mode="bilinear", align_corners=False, antialias=antialias)


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(start, start + step) for start in range(0, length, step))
