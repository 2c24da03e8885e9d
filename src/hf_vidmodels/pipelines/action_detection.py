"""The transformers pipeline for action detection: films in, people with what they do out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from transformers import Pipeline, PreTrainedModel

from ..modeling.modeling_base import refuse_random_weights
from ..processing.decoding import open_video
from ..processing.people_in_videos import PersonTracker, find_people
from .addresses import fetch_video

# That of STEP's demo.
DEFAULT_THRESHOLD = 0.4


class ActionDetectionPipeline(Pipeline):
    """Finds who does what, where and when in a film.

    Args:
        model: a model with `detect_actions`, for example `VideoResNetForActionDetection`.
        kwargs: what `transformers.Pipeline` takes (`video_processor`, `device`, `batch_size`, ...), and `timestamps`,
            `proposals`, `threshold`, `fps` and `step` as defaults of the calls.

    Raises:
        ValueError: when the model cannot detect actions, or its checkpoint lacked weights.

    Example:
        >>> detect = pipeline("action-detection", model="org/step-i3d-ava")
        >>> detect("film.mp4", threshold=0.5)[0]
        {'timestamp': 3.0, 'person': 0, 'box': {'xmin': 20, 'ymin': 3, 'xmax': 310, 'ymax': 290},
         'actions': [{'label': 'stand', 'score': 0.93}, {'label': 'talk to', 'score': 0.71}]}
    """

    _load_processor = False
    _load_image_processor = False
    _load_video_processor = True
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, model: PreTrainedModel, **kwargs: Any) -> None:
        if not hasattr(model, "detect_actions"):
            raise ValueError(
                f"{type(model).__name__} finds nobody in a film: it has no `detect_actions`; use a checkpoint for "
                "action detection"
            )
        refuse_random_weights(getattr(model, "random_weights", ()), model.name_or_path or type(model).__name__)
        super().__init__(model, **kwargs)

    def _sanitize_parameters(
        self,
        timestamps: Sequence[float] | None = None,
        proposals: Mapping[float, Any] | None = None,
        threshold: float | None = None,
        fps: float | None = None,
        step: int | None = None,
        times_at_once: int | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"threshold must lie in [0, 1], as scores do, got {threshold}")
        forward = {"timestamps": timestamps, "proposals": proposals, "fps": fps, "step": step}
        forward["batch_size"] = times_at_once
        return (
            {},
            {name: value for name, value in forward.items() if value is not None},
            {} if threshold is None else {"threshold": threshold},
        )

    def __call__(
        self, inputs: Any, *, batch_size: int | None = None, **kwargs: Any
    ) -> list[dict[str, Any]] | list[list[dict[str, Any]]]:
        """Detect actions in one film, or in each of a list.

        Args:
            inputs: a film (path, bytes, folder of frames, `file://` or http address) or a list of them.
            timestamps: ascending key times in seconds; by default every full second.
            proposals: boxes of people by key time, (m, 4) xyxy relative to width and height, for a model that finds
                none itself; its key times are those given here unless `timestamps` says others.
            threshold: leave out actions that score lower; 0.4 by default.
            fps: frames a second of folders of frames.
            batch_size: key times in one forward pass of the model.
            step: of a model with progressive steps, the one that answers.

        Returns:
            Of each film one dict for each person at each key time: `timestamp` in seconds, `person` (the same number
            for the same person at other times), `box` (`xmin`, `ymin`, `xmax`, `ymax` in pixels) and `actions`, each
            `label` and `score`, best first.

        Raises:
            ValueError, OSError: a film that cannot be read, or a model that needs boxes and is given none.
        """
        at_once = batch_size or self._batch_size
        return super().__call__(inputs, batch_size=1, times_at_once=at_once, **kwargs)

    def preprocess(self, video: Any) -> dict[str, Any]:
        """Give what can be opened as a film, and its size in pixels."""
        film = fetch_video(video)
        metadata = open_video(film).metadata()
        return {"film": film, "size": (metadata.width, metadata.height)}

    def _forward(
        self,
        inputs: dict[str, Any],
        timestamps: Sequence[float] | None = None,
        proposals: Mapping[float, Any] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        if proposals is not None:
            timestamps = sorted(proposals) if timestamps is None else timestamps
            options["proposals"] = [np.reshape(proposals.get(time, ()), (-1, 4)) for time in timestamps]
        found = self.model.detect_actions(inputs["film"], self.video_processor, timestamps=timestamps, **options)
        return {"found": list(found), "size": inputs["size"]}

    def postprocess(self, outputs: dict[str, Any], threshold: float = DEFAULT_THRESHOLD) -> list[dict[str, Any]]:
        """Join the detections of a film to people and name what they do."""
        scale, names = np.array(outputs["size"] * 2), self.model.config.id2label
        tracker, results = PersonTracker(), []
        for found in outputs["found"]:
            people = find_people(found, threshold=threshold)
            numbers = tracker.follow(people, found["timestamp"], found.get("tube_times"))
            for number, person in zip(numbers, people, strict=True):
                corners = map(round, (person.box * scale).tolist())
                results.append(
                    {
                        "timestamp": found["timestamp"],
                        "person": number,
                        "box": dict(zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)),
                        "actions": [{"label": names[label], "score": score} for label, score in person.actions],
                    }
                )
        return results
