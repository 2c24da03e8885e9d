"""Configuration of L2-CAF (Taha et al., "A Generic Visualization Approach for Convolutional Neural Networks", ECCV
2020, arXiv 2007.09748).

Numbers are those of the two official releases: `ahmdtaha/constrained_attention_filter` (TensorFlow, commit 2c7258d,
the paper's) and `ahmdtaha/l2_caf_pytorch` (commit b8f096b). Nothing is trained: the fields say which network is
wrapped, which of its feature maps is filtered, what the filter is asked for and how it is found.
"""

from typing import Any, ClassVar

from transformers import CONFIG_MAPPING, PreTrainedConfig

from .configuration_base import VidModelsConfig, strict_config

TASKS = ("classification", "retrieval", "video_retrieval")
OBJECTIVES = ("class_oblivious", "class_specific", "centered")
FILTER_TYPES = ("l2norm", "softmax", "gauss")
SOLVERS = ("auto", "exact", "adam", "sgd")
FRAME_MODES = ("joint", "per_frame")
SIGNS = ("abs", "positive", "signed")
BOX_METHODS = ("threshold", "fixed", "dt_box")

# Lower end of the rate and start of the filter in the release that each optimiser comes from.
RELEASE_DEFAULTS = {"adam": (0.0, "normal"), "sgd": (1e-5, "ones")}


@strict_config
class L2CafConfig(VidModelsConfig):
    """Which network is explained, at which layer, with which filter, objective and solver.

    Args:
        network_config: configuration of the wrapped transformers network (timm's by `TimmWrapperConfig`), an object or
            its dict with `model_type`; `None` for a network of one's own, which then is handed to the constructor.
        task: `"classification"` (an image classifier), `"retrieval"` (images to embeddings) or `"video_retrieval"`
            (frames to one embedding: CNN, pooling, LSTM).
        embedding_size: width of the linear embedding after pooling; `None` in retrieval takes the network's
            `pooler_output` as it is.
        normalize_embedding: whether the embedding has unit L2 norm.
        lstm_hidden_size: width of the LSTM over frames, for `"video_retrieval"`.
        filter_layer: dotted name of the module whose output is filtered; `None` for the last feature map.
        token_grid: (rows, columns) of the tokens of `filter_layer`, where it answers with a sequence (B, N, C);
            leading tokens beyond rows * columns (class token) are not filtered. Of a map with four axes it says which
            of (B, C, h, w) and (B, h, w, C) is meant, where the shape of the picture leaves that open.
        filter_type: `"l2norm"` (the method), `"softmax"` or `"gauss"` (7 x 7 maps only), released for comparison.
        objective: `"class_oblivious"` keeps the whole output, `"class_specific"` raises one logit over the sum of the
            others, `"centered"` (ours) raises one logit over the mean of all.
        solver: `"exact"` for average pooling + linear heads, `"adam"` (TensorFlow release), `"sgd"` (PyTorch release),
            `"auto"` for exact where it applies and else adam.
        learning_rate: rate of the first update; it falls linearly over `max_iterations`.
        min_learning_rate: rate that it falls to; `None` for that of the release (adam 0, sgd 1e-5).
        max_iterations: most updates of one problem.
        check_interval: a problem is checked for its stop at updates 0, `check_interval`, 2 `check_interval`, ...
        min_error: change of the loss between two checks below which a problem stops.
        relative_tolerance: further stop: change relative to the loss at the last check; `None` for none.
        init: start of the filter, `"normal"` (standard normal, one draw for all classes of an image) or `"ones"`;
            `None` for that of the release (adam normal, sgd ones).
        seed: of the normal start.
        norm_eps: lower bound of the norm that a filter is divided by.
        sign: what becomes of negative cells: `"abs"` (official), `"positive"` (set to 0) or `"signed"` (kept).
        fast: run only the part of the network after the layer (the same result as running all of it).
        frame_mode: `"joint"` finds all filters of a video together, `"per_frame"` filters one frame at a time.
        top_k: predicted classes that are explained when no class is named.
        box_method: `"threshold"` (localisation evaluator), `"fixed"` (paper's Table 2) or `"dt_box"` (Tables 1, 3).
        box_threshold: share of the maximum above which a cell belongs to a box, in [0, 1).
        multi_contour: give a box for every region instead of the largest.
        dt_thresholds: grey levels of `"dt_box"`.
        image_size: (height, width) that pictures are resized to.
        image_mean: mean of the wrapped network's inputs, RGB in [0, 1].
        image_std: standard deviation of them.

    Raises:
        ValueError: from construction, when fields contradict each other.
    """

    model_type = "l2_caf"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["embeddings"]

    network_config: dict | PreTrainedConfig | None = None
    task: str = "classification"
    embedding_size: int | None = None
    normalize_embedding: bool = True
    lstm_hidden_size: int = 512
    filter_layer: str | None = None
    token_grid: list | tuple | None = None
    filter_type: str = "l2norm"
    objective: str = "class_oblivious"
    solver: str = "auto"
    learning_rate: float | int = 0.5
    min_learning_rate: float | int | None = None
    max_iterations: int = 1000
    check_interval: int = 50
    min_error: float | int = 1e-6
    relative_tolerance: float | int | None = None
    init: str | None = None
    seed: int = 0
    norm_eps: float | int = 1e-12
    sign: str = "abs"
    fast: bool = True
    frame_mode: str = "joint"
    top_k: int = 1
    box_method: str = "threshold"
    box_threshold: float | int = 0.2
    multi_contour: bool = False
    dt_thresholds: list | tuple = (20, 100, 110)
    image_size: int | list | tuple = 224
    image_mean: list | tuple = (0.485, 0.456, 0.406)
    image_std: list | tuple = (0.229, 0.224, 0.225)

    def __post_init__(self, **kwargs: Any) -> None:
        """Make the network's configuration an object and let both have the same classes."""
        if isinstance(self.network_config, dict):
            self.network_config = _config_from_dict(self.network_config)
        network = self.network_config
        if self.id2label is None and kwargs.get("num_labels") is None and network is not None:
            # Some configurations only count their classes.
            self.id2label = dict(network.id2label or {id: f"LABEL_{id}" for id in range(network.num_labels)})
            self.label2id = {name: index for index, name in self.id2label.items()}
        super().__post_init__(**kwargs)
        if isinstance(self.image_size, int):
            self.image_size = [self.image_size, self.image_size]
        self.share_classes()

    def share_classes(self) -> None:
        """Give the network's configuration the classes of this one, which wins when they were changed."""
        network = self.network_config
        if network is not None and network.id2label != self.id2label:
            network.id2label, network.label2id = dict(self.id2label), dict(self.label2id or {})

    def validate_choices(self) -> None:
        """Refuse words that are none of the documented ones."""
        choices = {
            "task": TASKS,
            "filter_type": FILTER_TYPES,
            "objective": OBJECTIVES,
            "solver": SOLVERS,
            "frame_mode": FRAME_MODES,
            "sign": SIGNS,
            "box_method": BOX_METHODS,
            "init": (None, "normal", "ones"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {getattr(self, name)!r}")

    def validate_objective(self) -> None:
        """Refuse combinations of task, objective, filter and solver that have no meaning."""
        if self.task != "classification" and self.objective != "class_oblivious":
            raise ValueError(
                f"objective {self.objective!r} needs class logits, but task is {self.task!r}; use 'class_oblivious'"
            )
        if self.solver == "exact" and self.filter_type != "l2norm":
            raise ValueError(
                f"solver 'exact' needs filter_type 'l2norm', got {self.filter_type!r}; use 'adam' or 'sgd'"
            )
        if self.task == "video_retrieval" and self.filter_type == "gauss":
            raise ValueError("filter_type 'gauss' is for single images; use 'l2norm' or 'softmax' for video_retrieval")

    def validate_numbers(self) -> None:
        """Refuse rates, counts and thresholds outside their ranges."""
        for name in ("learning_rate", "max_iterations", "check_interval", "norm_eps", "top_k", "lstm_hidden_size"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.embedding_size is not None and self.embedding_size <= 0:
            raise ValueError(f"embedding_size must be positive or None, got {self.embedding_size}")
        if self.min_error < 0 or (self.relative_tolerance or 0) < 0:
            raise ValueError("min_error and relative_tolerance must be 0 or more")
        if not 0 <= self.box_threshold < 1:
            raise ValueError(f"box_threshold must be in [0, 1), got {self.box_threshold}")
        if not self.dt_thresholds or not all(0 <= level < 256 for level in self.dt_thresholds):
            raise ValueError(f"dt_thresholds must be grey levels in 0..255, got {self.dt_thresholds}")

    def validate_shapes(self) -> None:
        """Refuse an image size, token grid, mean or deviation of the wrong length."""
        if not isinstance(self.image_size, int) and len(self.image_size) != 2:
            raise ValueError(f"image_size must be one number or (height, width), got {self.image_size}")
        if self.token_grid is not None and (len(self.token_grid) != 2 or min(self.token_grid) < 1):
            raise ValueError(f"token_grid must be (rows, columns), got {self.token_grid}")
        if len(self.image_mean) != 3 or len(self.image_std) != 3 or min(self.image_std) <= 0:
            raise ValueError("image_mean and image_std must hold three numbers, the deviations positive")


def _config_from_dict(values: dict[str, Any]) -> PreTrainedConfig:
    """Build a configuration of the class that `model_type` names."""
    if "model_type" not in values:
        raise ValueError("network_config must name its model_type, for example {'model_type': 'resnet', ...}")
    if values["model_type"] not in CONFIG_MAPPING:
        raise ValueError(f"network_config names model_type {values['model_type']!r}, which transformers does not know")
    return CONFIG_MAPPING[values["model_type"]].from_dict(values)


_ADAM = {"solver": "adam", "init": "normal", "learning_rate": 0.5, "min_learning_rate": 0.0}

L2CafConfig.presets = {
    "eccv2020_slow": {**_ADAM, "min_error": 1e-6},
    "eccv2020_fast": {**_ADAM, "min_error": 1e-4},
    "pytorch_release": {"solver": "sgd", "init": "ones", "min_learning_rate": 1e-5, "min_error": 1e-6},
    "exact": {"solver": "exact"},
}
