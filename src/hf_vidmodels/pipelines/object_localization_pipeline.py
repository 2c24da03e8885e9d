"""The transformers pipeline for object localisation: pictures in, heat maps and boxes of their classes out."""

from collections.abc import Sequence
from typing import Any

from transformers import Pipeline, PreTrainedModel

from ..modeling.modeling_base import refuse_random_weights
from ..modeling.modeling_l2_caf import L2CafExplanation
from ..processing.picture_reading import read_picture

CLASS_OBLIVIOUS_LABEL = "all classes"


class ObjectLocalizationPipeline(Pipeline):
    """Shows where a network looks in a picture.

    Args:
        model: a model with `explain`, for example `L2CafForObjectLocalization`.
        kwargs: what `transformers.Pipeline` takes (`image_processor`, `device`, `batch_size`, ...), and `class_ids`,
            `objective`, `threshold` and `method` as defaults of the calls.

    Raises:
        ValueError: when the model cannot explain itself, or its checkpoint lacked weights.

    Example:
        >>> explain = pipeline("object-localization", model="org/l2-caf-resnet")
        >>> explain("cat.jpg", objective="centered")
        [{'label': 'tabby', 'score': 0.52, 'box': {'xmin': 20, 'ymin': 3, 'xmax': 310, 'ymax': 290}, 'heatmap': ...}]
    """

    _load_processor = False
    _load_image_processor = True
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, model: PreTrainedModel, **kwargs: Any) -> None:
        if not hasattr(model, "explain"):
            raise ValueError(
                f"{type(model).__name__} has no `explain`; wrap it with L2CafForObjectLocalization.from_network"
            )
        refuse_random_weights(getattr(model, "random_weights", ()), model.name_or_path or type(model).__name__)
        super().__init__(model, **kwargs)

    def _sanitize_parameters(
        self,
        class_ids: int | Sequence[int] | None = None,
        objective: str | None = None,
        threshold: float | None = None,
        method: str | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        forward = {"class_ids": class_ids, "objective": objective}
        boxes = {"threshold": threshold, "method": method}
        return (
            {},
            {name: value for name, value in forward.items() if value is not None},
            {name: value for name, value in boxes.items() if value is not None},
        )

    def __call__(self, inputs: Any, **kwargs: Any) -> list[dict[str, Any]] | list[list[dict[str, Any]]]:
        """Explain one picture, or each of a list.

        Args:
            inputs: a picture (path, bytes, PIL image, array) or a list of them.
            class_ids: a class or classes to explain in every picture; by default the best `top_k` of the model.
            objective: see `L2CafForObjectLocalization.explain`; by default that of the model, and
                `"class_specific"` when `class_ids` are given to a class-oblivious one.
            threshold: share of the maximum above which a cell belongs to the box.
            method: see `L2CafImageProcessor.post_process_boxes`.

        Returns:
            Of each picture one dict for each class: `label`, `score` (its probability), `box` (`xmin`, `ymin`, `xmax`,
            `ymax` in pixels), `heatmap` (float32 array (H, W) in [0, 1]), `objective` (loss), `num_updates`, `solver`.
        """
        return super().__call__(inputs, **kwargs)

    def preprocess(self, picture: Any) -> dict[str, Any]:
        """Give `pixel_values` (1, 3, H, W) and the `target_size` (height, width) of the picture."""
        picture = read_picture(picture)
        size = (picture.height, picture.width)
        return {"pixel_values": self.image_processor(picture)["pixel_values"], "target_size": size}

    def _forward(
        self, inputs: dict[str, Any], class_ids: int | Sequence[int] | None = None, objective: str | None = None
    ) -> dict[str, Any]:
        target_size = inputs.pop("target_size")
        pixel_values = inputs["pixel_values"]
        if class_ids is not None:
            ids = [class_ids] if isinstance(class_ids, int) else list(class_ids)
            class_ids = [ids] * len(pixel_values)
            if objective is None and self.model.config.objective == "class_oblivious":
                objective = "class_specific"
        explanation = self.model.explain(pixel_values, class_ids, objective=objective)
        # As a plain dict: transformers rebuilds model outputs as a class that lacks the fields that are None.
        return {"explanation": dict(explanation), "target_size": target_size}

    def postprocess(
        self, outputs: dict[str, Any], threshold: float | None = None, method: str | None = None
    ) -> list[dict[str, Any]]:
        """Turn the explanation of one picture into a list with one dict for each class."""
        explanation, sizes = L2CafExplanation(**outputs["explanation"]), [outputs["target_size"]]
        config = self.model.config
        threshold = config.box_threshold if threshold is None else threshold
        heatmaps = self.image_processor.post_process_heatmaps(explanation, sizes)[0]
        found = self.image_processor.post_process_boxes(
            explanation,
            sizes,
            thresholds=(threshold,),
            method=config.box_method if method is None else method,
            dt_thresholds=config.dt_thresholds,
        )[0]
        results = []
        for index, heatmap in enumerate(heatmaps):
            label = -1 if explanation.class_ids is None else int(explanation.class_ids[0, index])
            row = int((found["labels"] == label).nonzero()[0])
            box = dict(zip(("xmin", "ymin", "xmax", "ymax"), map(round, found["boxes"][row].tolist()), strict=True))
            results.append(
                {
                    "label": CLASS_OBLIVIOUS_LABEL if label < 0 else config.id2label[label],
                    "score": float(found["scores"][row]),
                    "box": box,
                    "heatmap": heatmap.numpy(),
                    "objective": float(explanation.objective[0, index]),
                    "num_updates": int(explanation.num_updates[0, index]),
                    "solver": explanation.solver,
                }
            )
        return results
