"""L2-CAF: Taha et al., "A Generic Visualization Approach for Convolutional Neural Networks", ECCV 2020, arXiv
2007.09748. Written from facts about the two official releases (see `configuration_l2_caf`), both Apache-2.0.

A trained network stays as it is. One spatial filter of unit L2 norm scales all channels of one of its feature maps,
and is chosen so that the output changes least (class-oblivious) or one class stands out most (class-specific). The
filter shows where the network looks.
"""

import difflib
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from ..configuration.configuration_l2_caf import OBJECTIVES, RELEASE_DEFAULTS, SOLVERS, L2CafConfig
from .layers.filter_problems import ReducedProblems, TailProblems
from .layers.last_map import seen_maps
from .layers.layer_maps import LayerMaps, read_layer_maps
from .layers.network_tail import NetworkTail, PooledLinearHead, find_pooled_linear_head
from .layers.wrapped_networks import build_network, frozen, load_network, read_output
from .modeling_base import VidModelsPreTrainedModel
from .ops.attention_filters import apply_sign, constrain, initial_parameters
from .ops.classification_loss import classification_loss
from .ops.exact_filters import linear_objective, preserving_objective
from .ops.filter_solvers import FilterProblems, FilterSolution, SolverSettings, solve_iteratively
from .ops.heatmaps import evaluation_map, make_heatmaps, threshold_boxes

logger = logging.getLogger(__name__)


@dataclass
class L2CafOutput(ModelOutput):
    """The wrapped network's own answer. B images or videos, K classes.

    Args:
        loss: cross-entropy, with labels and a classifier.
        logits: (B, K), of a classifier.
        embeddings: (B, E), of a retrieval network.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    embeddings: torch.Tensor | None = None


@dataclass
class L2CafExplanation(ModelOutput):
    """Where the network looks. B images, Q classes of each (1 for class-oblivious), filters of h x w cells.

    For videos every map has a further axis T (frames) after Q.

    Args:
        attention: (B, Q, h, w) float32, the filter after `sign`; unit L2 norm for `filter_type` l2norm.
        heatmaps: (B, Q, H, W) float32 in [0, 1] at the size of the pixel values.
        boxes: (B, Q, S, 4) int64, for each of S thresholds the box (x0, y0, x1, y1) of the largest region, in pixels
            of the pixel values; `L2CafImageProcessor.post_process_boxes` gives other protocols and original pixels.
        thresholds: the S thresholds.
        class_ids: (B, Q) int64 classes explained; `None` for class-oblivious.
        objective: (B, Q) the loss at the final filter.
        losses: (B, Q, U) loss before each update, NaN after a problem's stop; U is 0 for exact filters.
        num_updates: (B, Q) int64 updates used; 0 for exact filters.
        solver: `"exact"`, `"adam"` or `"sgd"`: the one that was used.
        logits: (B, K) the network's own output, logits or embedding.
    """

    attention: torch.Tensor | None = None
    heatmaps: torch.Tensor | None = None
    boxes: torch.Tensor | None = None
    thresholds: tuple[float, ...] | None = None
    class_ids: torch.Tensor | None = None
    objective: torch.Tensor | None = None
    losses: torch.Tensor | None = None
    num_updates: torch.Tensor | None = None
    solver: str | None = None
    logits: torch.Tensor | None = None


class L2CafForObjectLocalization(VidModelsPreTrainedModel):
    """Wraps a trained network and shows where it looks; the network's own predictions stay bit by bit the same.

    Args:
        config: the configuration.
        network: the network to wrap, used as it is; `None` builds the one that `config.network_config` describes. A
            network of one's own, without such a description, also has to be given to `from_pretrained`.

    Raises:
        ValueError: without a network and without its description.

    Example:
        >>> model = L2CafForObjectLocalization.from_network("microsoft/resnet-50")
        >>> processor = L2CafImageProcessor.from_config(model.config)
        >>> pixel_values = processor(picture)["pixel_values"]
        >>> explanation = model.explain(pixel_values, class_ids=[207], objective="class_specific")
        >>> processor.post_process_boxes(explanation, [(picture.height, picture.width)])
    """

    config_class = L2CafConfig
    base_model_prefix = "network"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _no_split_modules: list[str] = []

    def __init__(self, config: L2CafConfig, network: nn.Module | None = None) -> None:
        super().__init__(config)
        if network is None:
            self.network = build_network(config)
        else:
            self.network = network
            for module in network.modules():
                # Its weights are trained: initialisation must leave them alone.
                module._is_hf_initialized = True
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.LSTM):
            for parameter in module.parameters():
                init.uniform_(parameter, -(module.hidden_size**-0.5), module.hidden_size**-0.5)

    @classmethod
    def from_network(
        cls, model_or_id: nn.Module | str, target_layer: str | None = None, **settings: Any
    ) -> "L2CafForObjectLocalization":
        """Wrap a trained network.

        Args:
            model_or_id: a transformers image classifier or encoder (timm's too), one of this package's embedding
                networks, a network of one's own, or the Hub id or folder of an image classifier.
            target_layer: dotted name of the module whose output is filtered; `None` for the last feature map.
            settings: fields of `L2CafConfig` that differ from the defaults.

        Raises:
            ValueError: for a name that is no module, with those nearest and those that give a feature map.
            OSError: when an id or folder cannot be loaded.
        """
        network, found = load_network(model_or_id)
        config = L2CafConfig(**{**found, **settings, "filter_layer": target_layer})
        model = cls(config, network=network).eval()
        if target_layer is not None and target_layer not in dict(network.named_modules()):
            model.filter_layer(_blank_input(config))
        return model

    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, return_dict: bool | None = None
    ) -> L2CafOutput | tuple[torch.Tensor, ...]:
        """Give the wrapped network's own answer.

        Args:
            pixel_values: (B, 3, H, W), of videos (B, T, 3, H, W).
            labels: for the loss of a classifier, see `classification_loss`.
            return_dict: `False` for a tuple; None = as the configuration says.

        Raises:
            ValueError: a label is none of the classes.
        """
        answer = read_output(self.network(pixel_values))
        if self.config.task != "classification":
            output = L2CafOutput(embeddings=answer)
        else:
            loss = None if labels is None else classification_loss(answer, labels, multi_label=self.is_multi_label)
            output = L2CafOutput(loss=loss, logits=answer)
        return output if self._asked_for("return_dict", return_dict) else output.to_tuple()

    def filter_layer(self, pixel_values: torch.Tensor) -> str:
        """Give the name of the layer that is filtered, found on `pixel_values` when the configuration names none.

        Raises:
            ValueError: for a name that is no module, or a network without any feature map.
        """
        name = self.config.filter_layer
        if name is not None and name in dict(self.network.named_modules()):
            return name
        with frozen(self.network):
            seen = seen_maps(self.network, read_output, pixel_values)
        last = seen.last
        if name is not None:
            names = [module for module, _ in self.network.named_modules()]
            near = ", ".join(difflib.get_close_matches(name, names, n=5)) or "none"
            shown = ", ".join([one.name for one in seen.layers if not one.grid.is_tokens][-8:]) or "none"
            raise ValueError(
                f"the network has no layer {name!r}; nearest names: {near}; the last that give a feature map: {shown}"
            )
        if last is None:
            raise ValueError(
                "no layer of the network gives a feature map (B, C, h, w) with more than one cell that can change the "
                "output; name a layer with target_layer, and its token_grid (rows, columns) if it gives a sequence of "
                "tokens"
            )
        if seen.is_passed_by_all and not last.grid.is_tokens:
            return last.name
        if seen.is_passed_by_all:
            count = last.output.shape[1]
            reason = f"the network ends in tokens ({last.name!r} gives {count} of them), not in a feature map"
        else:
            reason = "several branches of the network see the picture, so that no one layer is its last feature map"
        grid = f", token_grid=({last.grid.rows}, {last.grid.columns})" if last.grid.is_tokens else ""
        raise ValueError(
            f"{reason}; name a layer with target_layer, and its token_grid (rows, columns) if it gives tokens, for "
            f"example target_layer={last.name!r}{grid}"
        )

    def explain(
        self,
        images: torch.Tensor | Sequence[torch.Tensor],
        class_ids: int | Sequence[int] | Sequence[Sequence[int]] | torch.Tensor | None = None,
        *,
        objective: str | None = None,
        solver: str | None = None,
        thresholds: Sequence[float] | None = None,
        on_update: Callable[[int, torch.Tensor], None] | None = None,
    ) -> L2CafExplanation:
        """Find the attention of the network on images or videos, all problems of the batch together.

        Works under `torch.no_grad()` and in training mode alike; weights and modes are afterwards as before.

        Args:
            images: pixel values (B, 3, H, W), of videos (B, T, 3, H, W), or a list of images of one size.
            class_ids: classes to explain: one for all images, one per image, or (B, Q); by default the `top_k` best of
                each image. Only for objectives of one class.
            objective: `"class_oblivious"`, `"class_specific"` or `"centered"`; by default that of the configuration.
            solver: by default that of the configuration.
            thresholds: shares of the maximum for the boxes; by default the configuration's one.
            on_update: see `solve_iteratively`.

        Raises:
            ValueError: for images of mixed sizes, a layer without a usable feature map, NaN, an unknown or unfit
                class, objective or solver, or a network that gives neither logits nor an embedding.
        """
        objective, solver = self._chosen(objective, solver, class_ids)
        thresholds = (self.config.box_threshold,) if thresholds is None else tuple(thresholds)
        pixel_values = _stack_images(images, self.config.task).to(self.device, self.dtype)
        with frozen(self.network), torch.no_grad():
            name = self.filter_layer(pixel_values)
            tail = NetworkTail(self.network, name, read_output, pixel_values, fast=self.config.fast)
            maps = read_layer_maps(tail.layer_output, name, pixel_values, self.config)
            _refuse_without_effect(tail, maps, name)
            classes = None if objective == "class_oblivious" else self._classes(class_ids, tail.output)
            solved = self._solve(tail, maps, objective, solver, classes, on_update)
            attention, solution, used, final_loss = solved
            attention = _uniform_where_constant(attention, maps, name)
        image_size = tuple(pixel_values.shape[-2:])
        boxes = [_boxes_of_map(one, image_size, thresholds) for one in attention.flatten(0, -3).cpu().numpy()]
        shape = attention.shape[:-2]
        return L2CafExplanation(
            attention=attention,
            heatmaps=make_heatmaps(attention, image_size),
            boxes=torch.from_numpy(np.stack(boxes)).view(*shape, len(thresholds), 4),
            thresholds=thresholds,
            class_ids=classes,
            objective=final_loss,
            losses=solution.losses,
            num_updates=solution.num_updates,
            solver=used,
            logits=tail.output,
        )

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:
        """Save the configuration and the wrapped network's weights in one safetensors file."""
        if self.config.network_config is None:
            logger.warning(
                "the wrapped %s has no transformers configuration: load this folder with "
                "from_pretrained(folder, network=...) and a network of the same kind",
                type(self.network).__name__,
            )
        super().save_pretrained(save_directory, **kwargs)

    def _chosen(self, objective: str | None, solver: str | None, class_ids: Any) -> tuple[str, str]:
        objective = self.config.objective if objective is None else objective
        solver = self.config.solver if solver is None else solver
        for name, value, known in (("objective", objective, OBJECTIVES), ("solver", solver, SOLVERS)):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}")
        if objective != "class_oblivious" and self.config.task != "classification":
            raise ValueError(
                f"objective {objective!r} needs class logits, but this is a {self.config.task} network; use "
                "'class_oblivious'"
            )
        if objective == "class_oblivious" and class_ids is not None:
            raise ValueError("class_ids have no meaning for 'class_oblivious'; use objective='class_specific'")
        return objective, solver

    def _classes(self, class_ids: Any, logits: torch.Tensor) -> torch.Tensor:
        """Give the (B, Q) classes to explain."""
        num_images, num_classes = logits.shape
        if class_ids is None:
            return logits.topk(min(self.config.top_k, num_classes)).indices
        classes = torch.as_tensor(class_ids, device=logits.device, dtype=torch.int64)
        if classes.dim() == 0:
            classes = classes.expand(num_images)
        if classes.dim() == 1:
            classes = classes[:, None]
        if len(classes) != num_images or classes.dim() != 2:
            raise ValueError(
                f"class_ids must be one class, one for each of {num_images} images, or a row for each, got shape "
                f"{tuple(classes.shape)}"
            )
        outside = classes[(classes < 0) | (classes >= num_classes)]
        if len(outside):
            raise ValueError(f"class id {int(outside[0])} is out of range, classes are 0..{num_classes - 1}")
        return classes

    def _solve(
        self,
        tail: NetworkTail,
        maps: LayerMaps,
        objective: str,
        solver: str,
        classes: torch.Tensor | None,
        on_update: Callable[[int, torch.Tensor], None] | None,
    ) -> tuple[torch.Tensor, FilterSolution, str, torch.Tensor]:
        """Give attention (B, Q[, T], h, w), the solution shaped (B, Q, ...), the solver used and the final losses."""
        config = self.config
        head = find_pooled_linear_head(tail, maps) if maps.is_plain else None
        solver = _resolve_solver(solver, head, config.filter_type)
        output_weights = None if classes is None else _output_weights(classes, tail.output.shape[-1], objective)
        per_frame = maps.num_frames > 1 and config.frame_mode == "per_frame"
        num_images, num_queries = len(tail.output), 1 if classes is None else classes.shape[1]
        copies = maps.num_frames if per_frame else num_queries
        frames = 1 if per_frame else maps.num_frames
        if head is not None:
            problems = _reduced_problems(head, maps, output_weights, config)
        else:
            problems = _tail_problems(tail, maps, output_weights, copies, per_frame, config)
        if solver == "exact":
            filters = problems.objective.minimize()
            losses = filters.new_full((len(filters), 0), torch.nan)
            updates = torch.zeros(len(filters), dtype=torch.int64, device=filters.device)
            solution = FilterSolution(filters.view(-1, 1, *maps.size), losses, updates)
            final_loss = problems.objective.value(filters)
            constrained = solution.parameters
        else:
            settings = _settings(config, solver)
            start_kind = RELEASE_DEFAULTS[solver][1] if config.init is None else config.init
            start = initial_parameters(config.filter_type, start_kind, num_images, frames, maps.size, config.seed)
            start = start.repeat_interleave(copies, 0).to(tail.output.device)
            solution = solve_iteratively(problems, start, settings, on_update)
            final_loss = problems.restrict(torch.arange(len(start), device=start.device)).loss(solution.parameters)
            constrained = constrain(solution.parameters, config.filter_type, config.norm_eps)
        attention = apply_sign(constrained, config.sign).float()
        shape = (num_images, 1, maps.num_frames) if maps.num_frames > 1 else (num_images, num_queries)
        rows = (num_images, len(solution.num_updates) // num_images)
        shaped = FilterSolution(
            solution.parameters.view(*rows, *solution.parameters.shape[1:]),
            solution.losses.view(*rows, solution.losses.shape[-1]),
            solution.num_updates.view(rows),
        )
        return attention.view(*shape, *maps.size), shaped, solver, final_loss.view(rows)


def _blank_input(config: L2CafConfig) -> torch.Tensor:
    shape = (1, 3, *config.image_size)
    return torch.zeros(1, *shape) if config.task == "video_retrieval" else torch.zeros(shape)


def _stack_images(images: torch.Tensor | Sequence[torch.Tensor], task: str) -> torch.Tensor:
    if not torch.is_tensor(images):
        images = list(images)
        if not images:
            raise ValueError("images must hold at least one image, got an empty list")
        sizes = sorted({tuple(image.shape) for image in images})
        if len(sizes) > 1:
            raise ValueError(f"images of a batch must have one size, got {sizes[0]} and {sizes[1]}; resize them")
        images = torch.stack(images)
    expected, shape = (5, "(B, T, 3, H, W)") if task == "video_retrieval" else (4, "(B, 3, H, W)")
    if images.dim() != expected or not len(images):
        raise ValueError(f"images must be pixel values {shape}, got {tuple(images.shape)}")
    return images


def _resolve_solver(solver: str, head: PooledLinearHead | None, filter_type: str) -> str:
    can_be_exact = head is not None and filter_type == "l2norm"
    if solver == "exact" and not can_be_exact:
        reason = f"filter_type is {filter_type!r}" if head is not None else "what follows the layer is something else"
        raise ValueError(
            f"solver 'exact' needs average pooling + one linear layer after filter_layer, filter_type 'l2norm', but "
            f"{reason}; use 'adam' or 'sgd'"
        )
    if solver == "auto":
        solver = "exact" if can_be_exact else "adam"
        logger.info("solver 'auto' uses %r", solver)
    return solver


def _settings(config: L2CafConfig, solver: str) -> SolverSettings:
    floor = RELEASE_DEFAULTS[solver][0] if config.min_learning_rate is None else config.min_learning_rate
    return SolverSettings(
        optimizer=solver,
        learning_rate=config.learning_rate,
        min_learning_rate=floor,
        max_iterations=config.max_iterations,
        check_interval=config.check_interval,
        min_error=config.min_error,
        relative_tolerance=config.relative_tolerance,
    )


def _output_weights(classes: torch.Tensor, num_classes: int, objective: str) -> torch.Tensor:
    """Give (B, Q, K) weights u of the objective u . output for one class: raised against the others."""
    chosen = nn.functional.one_hot(classes, num_classes).float()
    return 1 - 2 * chosen if objective == "class_specific" else 1 / num_classes - chosen


def _reduced_problems(
    head: PooledLinearHead, maps: LayerMaps, output_weights: torch.Tensor | None, config: L2CafConfig
) -> ReducedProblems:
    if output_weights is None:
        objective = preserving_objective(maps.tensor, head.weight)
    else:
        objective = linear_objective(maps.tensor, head.weight, head.bias, output_weights)
    return ReducedProblems(objective, config.filter_type, config.norm_eps)


def _tail_problems(
    tail: NetworkTail,
    maps: LayerMaps,
    output_weights: torch.Tensor | None,
    copies: int,
    per_frame: bool,
    config: L2CafConfig,
) -> FilterProblems:
    device, unfiltered = tail.output.device, tail.output.float()
    images = torch.arange(len(unfiltered), device=device).repeat_interleave(copies)
    weights = None if output_weights is None else output_weights.flatten(0, 1)

    def loss_of_output(output: torch.Tensor, problems: torch.Tensor) -> torch.Tensor:
        if weights is None:
            return (output - unfiltered[images[problems]]).square().mean(-1)
        return (output * weights[problems]).sum(-1)

    frames = torch.arange(copies, device=device).repeat(len(unfiltered)) if per_frame else None
    problems = torch.arange(len(images), device=device)
    return TailProblems(tail, maps, images, frames, loss_of_output, problems, config.filter_type, config.norm_eps)


def _refuse_without_effect(tail: NetworkTail, maps: LayerMaps, name: str) -> None:
    """Refuse tokens that the output does not depend on, as after the last block of a network with a class token."""
    if maps.leading_tokens is None:
        return
    tail.select(torch.arange(len(tail.output), device=tail.output.device))
    shape = (len(tail.output), maps.num_frames, *maps.size)
    if torch.equal(tail.run(maps.filtered(maps.tensor.new_zeros(shape))), tail.run(tail.layer_output)):
        raise ValueError(
            f"the output does not depend on the tokens that filter_layer {name!r} gives for the picture (only a class "
            "token is read after it); take an earlier layer, such as the block before the last"
        )


def _uniform_where_constant(attention: torch.Tensor, maps: LayerMaps, name: str) -> torch.Tensor:
    """Give images whose feature map is the same in every cell a uniform filter, and say so."""
    constant = maps.is_constant()
    if not constant.any():
        return attention
    which = ", ".join(str(int(index)) for index in constant.nonzero()[:, 0])
    warnings.warn(
        f"the feature map of {name!r} is the same in every cell for image {which}: its attention is uniform and shows "
        "nothing",
        stacklevel=3,
    )
    uniform = torch.full_like(attention, (attention.shape[-1] * attention.shape[-2]) ** -0.5)
    return torch.where(constant.view(-1, *[1] * (attention.dim() - 1)), uniform, attention)


def _boxes_of_map(attention: np.ndarray, size: tuple[int, int], thresholds: Sequence[float]) -> np.ndarray:
    """Give the (S, 4) boxes of the largest regions of one map above each threshold."""
    return np.concatenate(threshold_boxes(evaluation_map(attention, size), thresholds))
