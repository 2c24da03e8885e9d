"""The processor of ASM-Loc: feature files or arrays in, padded snippets out."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from transformers import BatchFeature, FeatureExtractionMixin

from ..configuration.configuration_asm_loc import AsmLocConfig
from ..modeling.ops.proposal_guidance import Proposals, guiding_labels, proposal_boxes
from ..modeling.ops.snippet_sampling import TimeWarp, sample_random, sample_uniform, warp_features
from .feature_reading import check_feature_rate, read_features
from .processing_base import SharedProcessorMixin

SAMPLINGS = ("uniform", "random", None)


class AsmLocProcessor(SharedProcessorMixin, FeatureExtractionMixin):
    """Prepares the snippet features of untrimmed videos for `AsmLocForTemporalActionLocalization`.

    Args:
        feature_size: width C of the features, the model's `hidden_size`.
        num_snippets: snippets S that a video is sampled to.
        frames_per_second: frame rate at which features were taken.
        frames_per_snippet: frames from one feature row to the next.
        max_proposals: most proposals of one video that the segment attention sees.
        proposal_extension: share of its length by which a proposal grows on each side.
        kwargs: kept as attributes, as transformers does.

    Raises:
        ValueError: for sizes or rates that are not positive, or a negative extension.

    Example:
        >>> processor = AutoFeatureExtractor.from_pretrained("org/asm-loc-thumos")
        >>> inputs = processor(["a.npy", ("b_rgb.npy", "b_flow.npy")])
        >>> output = model(inputs["input_features"], inputs["attention_mask"], step=0)
    """

    model_input_names = ["input_features", "attention_mask"]

    def __init__(
        self,
        feature_size: int = 2048,
        num_snippets: int = 750,
        frames_per_second: float = 25,
        frames_per_snippet: int = 16,
        max_proposals: int = 200,
        proposal_extension: float = 0.5,
        **kwargs: Any,
    ) -> None:
        sizes = {
            "feature_size": feature_size,
            "num_snippets": num_snippets,
            "frames_per_second": frames_per_second,
            "frames_per_snippet": frames_per_snippet,
            "max_proposals": max_proposals,
        }
        for name, value in sizes.items():
            if value <= 0:
                raise ValueError(f"{name} must be positive, got {value}")
            setattr(self, name, value)
        if proposal_extension < 0:
            raise ValueError(f"proposal_extension must be 0 or more, got {proposal_extension}")
        self.proposal_extension = proposal_extension
        super().__init__(**kwargs)

    @classmethod
    def from_config(cls, config: AsmLocConfig) -> "AsmLocProcessor":
        """Make the processor that fits a model's configuration."""
        return cls(
            feature_size=config.hidden_size,
            num_snippets=config.num_snippets,
            frames_per_second=config.frames_per_second,
            frames_per_snippet=config.frames_per_snippet,
            max_proposals=config.max_proposals,
            proposal_extension=config.proposal_extension,
        )

    def __call__(
        self,
        features: Any,
        *,
        sampling: str | None = "uniform",
        weights: Any = None,
        proposals: Proposals | Sequence[Proposals] | None = None,
        label_ids: Sequence[int] | Sequence[Sequence[int] | None] | None = None,
        durations: float | Sequence[float | None] | None = None,
        generator: np.random.Generator | None = None,
        return_tensors: str | None = "pt",
    ) -> BatchFeature:
        """Read, stretch, sample and pad the features of one video or of a list of videos.

        Per video a source is a path (`.npy`, `.npz`, `.h5`), an array or tensor (L, C), or a tuple `(rgb, flow)` of
        either; a list is always a batch. The other arguments hold one value for one source and a list for a list.

        Args:
            features: one source or a list of sources.
            sampling: `"uniform"` for at most S evenly spaced rows (test), `"random"` for exactly S rows (training),
                `None` for all rows.
            weights: (L,) sampling weights by which time is stretched before sampling, see
                `proposal_guidance.sampling_weights`; `None` for videos as they are.
            proposals: what the previous step found, as dicts of `segments` in seconds, `scores` and `labels`.
            label_ids: classes whose proposals count (training videos: their labels); `None` for all predicted ones.
            durations: length of the video in seconds; a warning names videos whose features do not fit it.
            generator: source of random sampling.
            return_tensors: `"pt"`, `"np"` or `None` (arrays).

        Returns:
            `input_features` (B, T, C) float32 with zero rows as padding, `attention_mask` (B, T) int64, `num_features`
            (B,) int64 rows L before sampling, and with proposals `proposal_boxes` (B, N, 2) int64 (padded with zeros)
            and `num_proposals` (B,) int64.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: features that do not fit (see `feature_reading.read_features`), an unknown sampling, or lists
                of different lengths.
        """
        if sampling not in SAMPLINGS:
            raise ValueError(f"sampling must be 'uniform', 'random' or None, got {sampling!r}")
        is_batch = isinstance(features, list)
        sources = features if is_batch else [features]
        if not sources:
            raise ValueError("features must hold at least one video, got an empty list")
        per_video = {"weights": weights, "proposals": proposals, "label_ids": label_ids, "durations": durations}
        columns = {name: _one_per_video(value, name, is_batch, len(sources)) for name, value in per_video.items()}
        videos = [
            self._prepare(
                source, index, sampling, generator, **{name: column[index] for name, column in columns.items()}
            )
            for index, source in enumerate(sources)
        ]
        batch = {key: _pad_to_longest([video[key] for video in videos]) for key in videos[0] if key != "num_features"}
        lengths = np.array([len(video["input_features"]) for video in videos])
        batch["attention_mask"] = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
        batch["num_features"] = np.array([video["num_features"] for video in videos], dtype=np.int64)
        if proposals is not None:
            batch["num_proposals"] = np.array([len(video["proposal_boxes"]) for video in videos], dtype=np.int64)
        return BatchFeature(batch, tensor_type=return_tensors)

    def _prepare(
        self,
        source: Any,
        index: int,
        sampling: str | None,
        generator: np.random.Generator | None,
        weights: Any,
        proposals: Proposals | None,
        label_ids: Sequence[int] | None,
        durations: float | None,
    ) -> dict[str, Any]:
        """Give one video's `input_features` (T, C), `num_features` and, with proposals, `proposal_boxes` (N, 2)."""
        snippets = read_features(source, expected_width=self.feature_size)
        num_features, warp = len(snippets), None
        if durations is not None:
            name = os.fspath(source) if isinstance(source, str | os.PathLike) else f"video {index}"
            check_feature_rate(num_features, durations, self.frames_per_second, self.frames_per_snippet, name)
        if weights is not None:
            weights = np.asarray(weights, dtype=np.float64)
            warp = TimeWarp.from_weights(weights, num_features)
            snippets = warp_features(snippets, weights)
        if sampling == "uniform":
            snippets = sample_uniform(snippets, self.num_snippets)
        elif sampling == "random":
            snippets = sample_random(snippets, self.num_snippets, generator)
        video = {"input_features": snippets.astype(np.float32, copy=False), "num_features": num_features}
        if proposals is not None:
            counted = guiding_labels(proposals, label_ids)
            video["proposal_boxes"] = proposal_boxes(proposals, counted, num_features, len(snippets), self, warp)
        return video


def _one_per_video(value: Any, name: str, is_batch: bool, num_videos: int) -> Sequence[Any]:
    """Give a list with the argument's value for each video."""
    if value is None or not is_batch:
        return [value] * num_videos
    found = len(value) if hasattr(value, "__len__") and not isinstance(value, Mapping) else type(value).__name__
    if found != num_videos:
        raise ValueError(f"{name} must be a list with one entry for each of {num_videos} videos, got {found}")
    return value


def _pad_to_longest(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Stack arrays (length, width) with zero rows after the shorter ones."""
    padded = np.zeros((len(arrays), max(map(len, arrays)), arrays[0].shape[1]), dtype=arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return padded
