"""The transformers pipeline for temporal action localisation: videos or features in, scored segments out."""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import Pipeline, PreTrainedModel

from ..modeling.modeling_base import refuse_random_weights
from ..processing.decoding import probe_video
from ..processing.feature_reading import FEATURE_SUFFIXES, feature_file, read_features
from .addresses import fetch_video

if TYPE_CHECKING:
    from ..data.features.feature_extraction import SnippetFeatureExtractor


class TemporalActionLocalizationPipeline(Pipeline):
    """Finds which actions happen when in an untrimmed video.

    A video goes through the feature extractor that the checkpoint names (`config.feature_extractor`), a feature array
    or file straight to the model's `localize`. The extractor is loaded with the first video.

    Args:
        model: a model with `localize`, for example `AsmLocForTemporalActionLocalization`.
        snippet_extractor: makes features from videos; by default the one of the checkpoint.
        kwargs: what `transformers.Pipeline` takes (`device`, `batch_size`, ...), and `top_k` and `threshold` as
            defaults of the calls.

    Raises:
        ValueError: when the model cannot localise actions, or its checkpoint lacked weights.

    Example:
        >>> locate = pipeline("temporal-action-localization", model="org/asm-loc-thumos")
        >>> locate("match.mp4", top_k=1)
        [{'label': 'Shotput', 'score': 0.81, 'start': 12.5, 'end': 15.9}]
    """

    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = None
    _load_tokenizer = False

    def __init__(
        self, model: PreTrainedModel, *, snippet_extractor: "SnippetFeatureExtractor | None" = None, **kwargs: Any
    ) -> None:
        if not hasattr(model, "localize"):
            raise ValueError(
                f"{type(model).__name__} cannot localise actions in time: it has no `localize`; use a checkpoint of a "
                "model for temporal action localisation such as AsmLocForTemporalActionLocalization"
            )
        refuse_random_weights(getattr(model, "random_weights", ()), model.name_or_path or type(model).__name__)
        self._snippet_extractor = snippet_extractor
        super().__init__(model, **kwargs)

    @property
    def snippet_extractor(self) -> "SnippetFeatureExtractor":
        """What makes features of videos, on the pipeline's device.

        Raises:
            ValueError: when the checkpoint names none; the message says what to do.
        """
        if self._snippet_extractor is None:
            from ..data.features.feature_extraction import SnippetFeatureExtractor

            self._snippet_extractor = SnippetFeatureExtractor.from_checkpoint(self.model)
        return self._snippet_extractor.to(self.device)

    def __call__(
        self, inputs: Any, **kwargs: Any
    ) -> list[dict[str, Any]] | list[list[dict[str, Any]]] | Iterator[list[dict[str, Any]]]:
        """Localise actions in one video, or in each of a list.

        Args:
            inputs: a video (path, `file://` or http address, bytes, `{"path", "bytes"}`, folder of numbered frames,
                uint8 array (T, H, W, 3)), snippet features (path to `.npy`, `.npz` or `.h5`, array (L, C), pair
                `(rgb, flow)`), or a list, a data set or a generator of them.
            top_k: number of segments of each video at most.
            threshold: segments with a lower score are left out.
            batch_size: videos in one forward pass of the model (a list is otherwise taken one by one).

        Returns:
            Of each video, segments by descending score: `label` (class name), `score`, `start` and `end` in seconds.
            A list for a list; an iterator for a data set or a generator.

        Raises:
            ValueError, FileNotFoundError: for a source that cannot be read, features that do not fit the model, or a
                video when the checkpoint names no feature extractor.
        """
        if isinstance(inputs, list) and not inputs:
            return []
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(
        self, top_k: int | None = None, threshold: float | None = None
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be at least 1, or None for all segments, got {top_k}")
        chosen = {"top_k": top_k, "threshold": threshold}
        return {}, {}, {name: value for name, value in chosen.items() if value is not None}

    def preprocess(self, source: Any) -> dict[str, Any]:
        """Give `features`, float32 (L, C), of one source, and of a video its `duration` in seconds."""
        if is_feature_source(source):
            return {"features": read_features(source, expected_width=self.model.config.hidden_size)}
        video = fetch_video(source)
        return {"features": self.snippet_extractor(video), "duration": probe_video(video).duration}

    def _forward(
        self, videos: list[dict[str, Any]], return_curves: bool = False, step: int | None = None
    ) -> list[dict[str, np.ndarray]]:
        predictions = self.model.localize(
            [video["features"] for video in videos], return_curves=return_curves, batch_size=len(videos), step=step
        )
        return [
            end_inside(prediction, video.get("duration", np.nan))
            for prediction, video in zip(predictions, videos, strict=True)
        ]

    def postprocess(
        self, prediction: dict[str, np.ndarray], top_k: int | None = None, threshold: float | None = None
    ) -> list[dict[str, Any]]:
        """Turn arrays of one video into a list of segments by descending score."""
        best = best_segments(prediction, top_k, threshold)
        return [
            {"label": self.model.config.id2label[label], "score": score, "start": start, "end": end}
            for label, score, (start, end) in zip(
                best["labels"].tolist(), best["scores"].tolist(), best["segments"].tolist(), strict=True
            )
        ]

    def run_single(
        self,
        inputs: Any,
        preprocess_params: dict[str, Any],
        forward_params: dict[str, Any],
        postprocess_params: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """Localise the actions of one video."""
        return next(self.get_iterator([inputs], 0, 1, preprocess_params, forward_params, postprocess_params))

    def get_iterator(
        self,
        inputs: Iterable[Any],
        num_workers: int,
        batch_size: int,
        preprocess_params: dict[str, Any],
        forward_params: dict[str, Any],
        postprocess_params: dict[str, Any],
    ) -> Iterator[list[dict[str, Any]]]:
        """Go through videos in batches; `localize` pads them, which the collators of transformers cannot do."""
        sources = iter(inputs)
        while batch := list(islice(sources, batch_size)):
            videos = [self.preprocess(source, **preprocess_params) for source in batch]
            for prediction in self.forward(videos, **forward_params):
                yield self.postprocess(prediction, **postprocess_params)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Save the model, its processor and its feature extractor, so that the folder takes raw video.

        Args:
            save_directory: folder, made when missing.
            kwargs: passed to the `save_pretrained` of model and processor.
        """
        if self._snippet_extractor is not None or self.model.config.feature_extractor is not None:
            self.model.config.feature_extractor = self.snippet_extractor.save(save_directory)
        self.model.save_pretrained(save_directory, **kwargs)
        if self.feature_extractor is not None:
            self.feature_extractor.save_pretrained(save_directory, **kwargs)


def end_inside(prediction: dict[str, np.ndarray], duration: float) -> dict[str, np.ndarray]:
    """Cut segments at the end of their video, which its last row of features reaches beyond.

    Args:
        prediction: of one video, as `localize` gives it.
        duration: of the video in seconds; NaN for a video that has no timing.

    Returns:
        The same without segments that would begin at the end or later.
    """
    if not np.isfinite(duration):
        return prediction
    inside = prediction["segments"][:, 0] < duration
    kept = {name: prediction[name][inside] for name in ("segments", "scores", "labels")}
    return prediction | kept | {"segments": np.minimum(kept["segments"], duration)}


def best_segments(
    prediction: dict[str, np.ndarray], top_k: int | None = None, threshold: float | None = None
) -> dict[str, np.ndarray]:
    """Choose the segments of one video that are worth showing.

    Args:
        prediction: `segments` (N, 2), `scores` (N,), `labels` (N,), as `localize` gives them.
        top_k: number of segments at most.
        threshold: segments with a lower score are left out.

    Returns:
        The same three arrays, by descending score over all classes.
    """
    order = np.argsort(-prediction["scores"], kind="stable")
    if threshold is not None:
        order = order[prediction["scores"][order] >= threshold]
    return {name: prediction[name][order[:top_k]] for name in ("segments", "scores", "labels")}


def is_feature_source(source: Any) -> bool:
    """Tell snippet features (a file by its suffix, a 2-D array, a pair of either) from a video."""
    if isinstance(source, tuple):
        return len(source) == 2 and all(is_feature_source(stream) for stream in source)
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return not path.is_dir() and feature_file(os.fspath(source)).suffix.lower() in FEATURE_SUFFIXES
    return np.ndim(source) == 2 if hasattr(source, "shape") else False
