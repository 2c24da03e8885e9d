"""Snippet features from raw video: what untrimmed-video methods such as ASM-Loc take as input.

A video is read at a fixed frame rate and cut into snippets (16 frames at 25 frames per second for the published I3D
features); frozen networks turn the RGB frames and the optical flow of each snippet into one row of numbers.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.transforms.v2 import functional as transforms
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from ...processing.decoding import UnreadableVideoError, VideoSource, iterate_frames, probe_video
from ...tasks import BFLOAT16, PRECISIONS
from .optical_flow import flow_pictures
from .snippet_encoders import SnippetEncoder, load_encoder
from .snippets import batched, iterate_snippets, sample_positions
from .stream_settings import STREAMS, StreamSettings, refuse_unknown_fields

# The order of the streams in a feature row, whatever their order in a settings file.
CHECKPOINT_FOLDER = "feature_extractor"


class SnippetFeatureExtractor:
    """Turns videos of any length into feature rows `(L, C)`, with a few snippets in memory at a time.

    Snippet k holds `frames_per_snippet` frames from frame `k * snippet_stride` on. The frames left at the end make a
    snippet when they are at least half of one, filled up with the last frame, and are dropped otherwise; a video
    shorter than one snippet is one snippet. C is the sum of the widths of the streams, RGB first.

    Args:
        streams: settings for `"rgb"`, or for `"rgb"` and `"flow"`; see `StreamSettings`.
        frames_per_second: rate at which videos are read, by the nearest earlier frame. Folders of pictures and arrays
            have no rate; their frames count as taken at this one.
        frames_per_snippet: frames that one row describes.
        snippet_stride: frames from one row to the next.
        mixed_precision: `"bf16"` lets the networks compute in bfloat16, which is part of how features are made; rows
            are float32 and differ in the third digit. None or `"no"` for float32.
        checkpoint: Hub id or folder that settings with a mere `subfolder` refer to.
        revision: of `checkpoint`.
        batch_size: snippets in one forward pass.
        device: where the networks run.

    Attributes:
        streams: the settings by stream, with every field resolved.
        feature_size: C.
        mixed_precision: `"bf16"` or None.
        origin: `checkpoint` and `revision` as given.

    Raises:
        ValueError, FileNotFoundError, OSError: for unknown streams, contradicting settings, or a network that cannot
            be loaded.

    Example:
        >>> extract = SnippetFeatureExtractor({"rgb": {"model": "MCG-NJU/videomae-base-finetuned-kinetics"}})
        >>> extract("match.mp4").shape
        (187, 768)
    """

    def __init__(
        self,
        streams: Mapping[str, StreamSettings | Mapping[str, Any]],
        *,
        frames_per_second: float = 25,
        frames_per_snippet: int = 16,
        snippet_stride: int = 16,
        mixed_precision: str | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        revision: str | None = None,
        batch_size: int = 8,
        device: str | torch.device = "cpu",
    ) -> None:
        _check_streams(streams)
        for name, value in (
            ("frames_per_second", frames_per_second),
            ("frames_per_snippet", frames_per_snippet),
            ("snippet_stride", snippet_stride),
            ("batch_size", batch_size),
        ):
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if mixed_precision not in (None, *PRECISIONS):
            raise ValueError(f"mixed_precision must be one of {', '.join(PRECISIONS)}, got {mixed_precision!r}")
        self.frames_per_second = frames_per_second
        self.frames_per_snippet = frames_per_snippet
        self.snippet_stride = snippet_stride
        self.mixed_precision = mixed_precision if mixed_precision == BFLOAT16 else None
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.origin = {"checkpoint": None if checkpoint is None else os.fspath(checkpoint), "revision": revision}
        self.streams: dict[str, StreamSettings] = {}
        self._encoders: dict[str, SnippetEncoder] = {}
        for stream in STREAMS:
            if stream in streams:
                encoder, self.streams[stream] = load_encoder(
                    streams[stream],
                    stream,
                    num_frames=frames_per_snippet,
                    **self.origin,
                )
                self._encoders[stream] = encoder.to(self.device)
        self.feature_size = sum(encoder.feature_size for encoder in self._encoders.values())

    @torch.inference_mode()
    def __call__(self, source: VideoSource) -> np.ndarray:
        """Give the features of one video, float32 `(L, C)`, L at least 1.

        Args:
            source: a path, bytes, `{"path", "bytes"}`, a folder of numbered frames or frames (T, H, W, 3).

        Raises:
            FileNotFoundError: there is nothing at the path.
            UnreadableVideoError: the source cannot be read as a video or holds no frames.
            ValueError: the pictures are too small, or the network gives values that are not finite.
        """
        has_timing = not np.isnan(probe_video(source).fps)
        frames = iterate_frames(source, self.frames_per_second if has_timing else None)
        snippets = iterate_snippets(frames, self.frames_per_snippet, self.snippet_stride)
        rows = [self._encode(batch) for batch in batched(snippets, self.batch_size)]
        if not rows:
            raise UnreadableVideoError(f"{_name(source)} holds no frames")
        features = np.concatenate(rows)
        if not np.isfinite(features).all():
            row = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
            raise ValueError(f"the features of {_name(source)} are not finite, first in row {row}; check the network")
        return features

    def to(self, device: str | torch.device) -> "SnippetFeatureExtractor":
        """Move the networks to `device`."""
        if torch.device(device) != self.device:
            self.device = torch.device(device)
            for encoder in self._encoders.values():
                encoder.to(self.device)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Give all settings as plain JSON, for `AsmLocConfig.feature_extractor`; `from_dict` reads them."""
        precision = {} if self.mixed_precision is None else {"mixed_precision": self.mixed_precision}
        return {
            "frames_per_second": self.frames_per_second,
            "frames_per_snippet": self.frames_per_snippet,
            "snippet_stride": self.snippet_stride,
            **precision,
            "streams": {stream: settings.to_dict() for stream, settings in self.streams.items()},
        }

    def weights_digests(self) -> dict[str, str]:
        """SHA-256 of the weights of each stream, which tells retrained networks at the same place apart."""
        return {stream: encoder.digest() for stream, encoder in self._encoders.items()}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any], **arguments: Any) -> "SnippetFeatureExtractor":
        """Make the extractor that `to_dict` or `save` describes.

        Args:
            settings: the description.
            arguments: `checkpoint`, `revision`, `batch_size` and `device` of the constructor, and `mixed_precision`
                where it is not None, instead of what the description says.

        Raises:
            ValueError: for an unknown or missing field, and as the constructor.
        """
        known = ("streams", "frames_per_second", "frames_per_snippet", "snippet_stride", "mixed_precision")
        refuse_unknown_fields(settings, known, "feature_extractor")
        if "streams" not in settings:
            raise ValueError(f"feature_extractor needs the field 'streams', got only {sorted(settings)}")
        return cls(**{**settings, **{name: value for name, value in arguments.items() if value is not None}})

    @classmethod
    def from_checkpoint(
        cls,
        model: PreTrainedModel | str | os.PathLike[str],
        config: PreTrainedConfig | None = None,
        **arguments: Any,
    ) -> "SnippetFeatureExtractor":
        """Make the extractor that a localisation checkpoint was trained with.

        Args:
            model: the loaded model, or the checkpoint's folder or Hub id.
            config: its configuration, when it is loaded already.
            arguments: `revision`, `batch_size`, `device` and `mixed_precision`, as for `from_dict`.

        Raises:
            ValueError: when the model works on no features, and when the checkpoint names no feature extractor, or
                one whose rows do not fit the model.
        """
        if isinstance(model, PreTrainedModel):
            config, checkpoint = model.config, model.name_or_path or None
        else:
            checkpoint = os.fspath(model)
            config = config or AutoConfig.from_pretrained(checkpoint, revision=arguments.get("revision") or "main")
        arguments.setdefault("revision", getattr(config, "_commit_hash", None))
        if not hasattr(config, "feature_extractor"):
            raise ValueError(
                f"{checkpoint or 'the model'} ({config.model_type}) works on no features, so it names no feature "
                "extractor; give the checkpoint of a localisation model, or make features by a network of videos "
                "itself (hf-vidmodels extract --model)"
            )
        settings = config.feature_extractor
        if settings is None:
            raise ValueError(
                f"{checkpoint or 'the model'} names no feature extractor, so it cannot take video: its features were "
                f"made elsewhere, {_describe_features(config)}; make the same ones (hf-vidmodels extract runs "
                "any video model) and pass the feature files, or set feature_extractor in config.json"
            )
        extractor = cls.from_dict(settings, checkpoint=checkpoint, **arguments)
        _check_fit(extractor, config)
        return extractor

    def save(self, checkpoint_folder: str | os.PathLike[str]) -> dict[str, Any]:
        """Write the networks into a checkpoint's folder, so that it takes raw video wherever it goes.

        Args:
            checkpoint_folder: gets the sub-folders `feature_extractor/rgb` and `feature_extractor/flow`.

        Returns:
            The settings that refer to them, to be set as the `feature_extractor` of the checkpoint's configuration.

        Raises:
            OSError: when a file cannot be written.
        """
        description = self.to_dict()
        for stream, encoder in self._encoders.items():
            subfolder = f"{CHECKPOINT_FOLDER}/{stream}"
            encoder.save(Path(checkpoint_folder) / subfolder)
            fields = description["streams"][stream]
            for name in ("revision", "model_config", "random_init_seed", "weights"):
                fields.pop(name, None)
            if self.streams[stream].torchvision_model is None:
                fields.pop("model", None)
            fields["subfolder"] = subfolder
        return description

    def _encode(self, snippets: list[list[np.ndarray]]) -> np.ndarray:
        """Encode B snippets of frames as rows (B, C)."""
        parts = []
        for stream, settings in self.streams.items():
            clips = torch.stack([_clip(frames, stream, settings) for frames in snippets])
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed_precision is not None):
                rows = self._encoders[stream](clips.to(self.device))
            parts.append(rows.float().cpu().numpy())
        return np.concatenate(parts, axis=1)


def _clip(frames: list[np.ndarray], stream: str, settings: StreamSettings) -> torch.Tensor:
    """Make the input (T, 3, H, W) of one network from the frames of one snippet."""
    positions = sample_positions(len(frames), settings.num_frames)
    if stream == "rgb":
        pictures = _cropped(np.stack([frames[position] for position in positions]), settings).float() / 255
    else:
        cropped = _cropped(np.stack(frames), settings).permute(0, 2, 3, 1).contiguous().numpy()
        pictures = torch.from_numpy(flow_pictures(cropped, positions, settings.flow_bound)).permute(0, 3, 1, 2)
    mean = torch.tensor(settings.image_mean).view(3, 1, 1)
    std = torch.tensor(settings.image_std).view(3, 1, 1)
    return (pictures - mean) / std


def _cropped(frames: np.ndarray, settings: StreamSettings) -> torch.Tensor:
    """Resize (T, H, W, 3) uint8 by the shorter side and cut out the centre, as (T, 3, crop_size, crop_size)."""
    pictures = torch.from_numpy(frames).permute(0, 3, 1, 2)
    pictures = transforms.resize(pictures, [settings.size], antialias=True)
    return transforms.center_crop(pictures, [settings.crop_size, settings.crop_size])


def _check_streams(streams: Mapping[str, Any]) -> None:
    unknown = sorted(set(streams) - set(STREAMS))
    if unknown:
        raise ValueError(f"the streams of a feature extractor are {' and '.join(STREAMS)}, got {unknown[0]!r}")
    if not streams:
        raise ValueError(f"a feature extractor needs at least one of the streams {' and '.join(STREAMS)}, got none")


def _check_fit(extractor: SnippetFeatureExtractor, config: PreTrainedConfig) -> None:
    """Refuse an extractor whose rows have another width or rate than the model was trained with."""
    pairs = (
        ("hidden_size", extractor.feature_size, "gives features of size"),
        ("frames_per_second", extractor.frames_per_second, "reads frames per second"),
        ("frames_per_snippet", extractor.snippet_stride, "has a snippet_stride of"),
    )
    for field, value, what in pairs:
        if getattr(config, field, value) != value:
            raise ValueError(
                f"the feature extractor of the checkpoint {what} {value}, but its configuration says {field} = "
                f"{getattr(config, field)}; correct config.json"
            )


def _describe_features(config: PreTrainedConfig) -> str:
    width = config.hidden_size
    looks = " (for the published checkpoints: two-stream I3D, RGB then optical flow)" if width == 2048 else ""
    frames = f"{config.frames_per_snippet} frames at {config.frames_per_second} fps"
    return f"rows of {width} numbers{looks} for every {frames}"


def _name(source: VideoSource) -> str:
    if isinstance(source, Mapping) and source.get("path"):
        return str(source["path"])
    return str(source) if isinstance(source, str | os.PathLike) else "the given video"
