"""The base of all video processors: from real video files to clips of pixel values, and from logits to answers.

A video is opened once for all its views: which frames they need follows from the number of frames and the frame rate
alone, and only these are decoded, no further than the last of them (`decoding.py`). Frames stay uint8 until they are
resized, in blocks, so that a long video never lies in memory whole.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from huggingface_hub.dataclasses import validate_typed_dict
from huggingface_hub.errors import StrictDataclassError
from transformers import BatchFeature
from transformers.image_utils import ChannelDimension, PILImageResampling, SizeDict
from transformers.processing_utils import VideosKwargs
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import VideoMetadata

from .decoding import Video, VideoSource, frames_shown_at, open_video
from .frame_sampling import FrameSampling
from .processing_base import SharedProcessorMixin
from .spatial_crops import crop_offsets, output_size, short_side_size
from .view_scores import check_aggregation, combine_views

# Pixels of the frames that are resized together: 100 MB as float32.
_BLOCK_PIXELS = 2**23
_UNSUPPORTED = {
    "fps": "give sampling_rate and target_fps, or video_metadata={'fps': ...} for videos without timing",
    "do_pad": "videos are resized and cropped to one size",
    "data_format": "pixel values always have the axes (frames, channels, height, width)",
}


class VideoViewsKwargs(VideosKwargs, total=False):
    """What a call of the processor may change besides the arguments of transformers' video processors.

    Attributes:
        sampling_strategy: rule of `frame_sampling.py` that chooses the frames of a clip.
        sampling_rate: source frames from one frame of a clip to the next.
        target_fps: frame rate in 1/s at which `sampling_rate` counts.
        use_offset: whether the last of several views reaches the end of the video.
        num_views: views in time.
        num_crops: crops of each, 1 (the middle) or 3 (along the long side).
        evaluation_views: views in time of the published test protocol.
        evaluation_crops: crops of the published test protocol.
        view_aggregation: how the protocol joins the class probabilities of the views: `"sum"`, `"mean"`, `"max"`.
    """

    sampling_strategy: str | None
    sampling_rate: int | None
    target_fps: float | int | None
    use_offset: bool | None
    num_views: int | None
    num_crops: int | None
    evaluation_views: int | None
    evaluation_crops: int | None
    view_aggregation: str | None


class VideoViewsProcessor(SharedProcessorMixin, BaseVideoProcessor):
    """Decodes videos, chooses frames, resizes the short side, crops and normalises.

    A call makes one view of each video unless `num_views` and `num_crops` say more. The test protocol of a published
    model stands in `evaluation_views`, `evaluation_crops` and `view_aggregation`:

        >>> processor = AutoVideoProcessor.from_pretrained("org/stts-mvit")
        >>> inputs = processor(["a.mp4", "b.webm"], num_views=processor.evaluation_views)
        >>> logits = model(inputs["pixel_values"].flatten(0, 1)).logits.unflatten(0, (2, -1))
        >>> processor.post_process_video_classification(logits, top_k=5)
    """

    model_input_names = ["pixel_values"]
    valid_kwargs = VideoViewsKwargs
    resample = PILImageResampling.BILINEAR
    size = {"shortest_edge": 256}
    default_to_square = False
    crop_size = {"height": 224, "width": 224}
    image_mean = [0.45, 0.45, 0.45]
    image_std = [0.225, 0.225, 0.225]
    do_resize = True
    do_center_crop = True
    do_rescale = True
    do_normalize = True
    do_sample_frames = True
    num_frames = 16
    sampling_strategy = "slowfast"
    sampling_rate = 4
    target_fps = 30.0
    use_offset = False
    num_views = 1
    num_crops = 1
    evaluation_views = 10
    evaluation_crops = 3
    view_aggregation = "sum"

    @property
    def frame_sampling(self) -> FrameSampling:
        """The rule that chooses frames, for data sets that draw training clips by it."""
        return _frame_sampling(vars(self))

    @property
    def picture_size(self) -> tuple[int, int]:
        """Height and width of the pictures that come out.

        Raises:
            ValueError: they depend on the video, as without `do_center_crop` and with a short side only.
        """
        return output_size(self)

    def preprocess(self, videos: Any, **kwargs: Any) -> BatchFeature:
        """Prepare videos.

        Args:
            videos: one video or a list of videos. A video is a path, bytes, `{"path", "bytes"}`, a folder of numbered
                pictures, a uint8 array or tensor (T, H, W, 3) or (T, 3, H, W), or a list of pictures; five axes are a
                batch.
            kwargs: attributes of the processor to change for this call, and of transformers' video processors
                `video_metadata` (one or a list of dicts; its `fps` is used, also for arrays and folders, which have no
                timing and otherwise count as having `target_fps`), `do_sample_frames=False` (all frames are taken),
                `input_data_format` (`"channels_first"` or `"channels_last"` of arrays whose shape leaves it open),
                `device`, `return_metadata` and `return_tensors` (default `"pt"`).

        Returns:
            `pixel_values` float32 (B, T, 3, H, W), or (B, N, T, 3, H, W) with more than one view,
            N = num_views * num_crops with the crops of a view side by side. With `return_metadata` also
            `video_metadata`, for each video its size, timing and the frames that were taken, one list for each view
            in time.

        Raises:
            FileNotFoundError: there is nothing at a path.
            UnreadableVideoError: a video cannot be decoded.
            ValueError: anything else that is no video, no or contradicting arguments, or videos that end up with
                different sizes.
        """
        settings = self._settings(kwargs)
        channels = _channel_order(settings["input_data_format"])
        sources = split_videos(videos)
        rates = _given_rates(settings["video_metadata"], len(sources))
        prepared = [
            self._prepare_video(open_video(source, channels), rate, settings)
            for source, rate in zip(sources, rates, strict=True)
        ]
        shapes = {tuple(views.shape) for views, _ in prepared}
        if len(shapes) > 1:
            raise ValueError(
                f"the videos of a batch must end up with one shape, got {' and '.join(map(str, sorted(shapes)))}; "
                "sample frames and crop, or give one video at a time"
            )
        pixel_values = torch.stack([views for views, _ in prepared])
        if pixel_values.shape[1] == 1:
            pixel_values = pixel_values.squeeze(1)
        batch = BatchFeature({"pixel_values": pixel_values}, tensor_type=settings["return_tensors"] or "pt")
        if settings["return_metadata"]:
            batch["video_metadata"] = [metadata for _, metadata in prepared]
        return batch

    def crop_boxes(self, height: int, width: int, num_crops: int | None = None) -> torch.Tensor:
        """Say which part of a video's pictures the crops show.

        Args:
            height: pixels of the video.
            width: pixels of the video.
            num_crops: 1 or 3; `None` for the processor's own.

        Returns:
            float32 (num_crops, 4), boxes (x0, y0, x1, y1) in pixels of the video.
        """
        settings = self._settings({} if num_crops is None else {"num_crops": num_crops})
        resized = _resized_size(height, width, settings)
        boxes = torch.tensor([(x, y, x + w, y + h) for y, x, h, w in _crops(*resized, settings)], dtype=torch.float32)
        return boxes * torch.tensor([width / resized[1], height / resized[0]]).repeat(2)

    def to_pictures(self, pixel_values: torch.Tensor) -> np.ndarray:
        """Turn normalised frames back into pictures that people can look at.

        Args:
            pixel_values: (..., 3, H, W).

        Returns:
            uint8 (..., H, W, 3).
        """
        mean, std = (pixel_values.new_tensor(values)[:, None, None] for values in (self.image_mean, self.image_std))
        pictures = (pixel_values * std + mean).clamp(0, 1) * 255
        return pictures.round().byte().movedim(-3, -1).cpu().numpy()

    def post_process_video_classification(
        self,
        outputs: Any,
        top_k: int | None = 5,
        *,
        multi_label: bool = False,
        view_aggregation: str | None = None,
    ) -> list[dict[str, torch.Tensor]]:
        """Turn logits into the best classes of every video.

        Args:
            outputs: logits (B, N, C) of N views of each of B videos, logits (B, C) of one view each, or a model output
                with such `logits`.
            top_k: how many classes to give, at most C; `None` for all.
            multi_label: whether classes are independent (sigmoid) and not exclusive (softmax).
            view_aggregation: `"sum"`, `"mean"` or `"max"` of the views' probabilities; by default the processor's.

        Returns:
            for each video a dict of `scores` float32 (K,), highest first, and `labels` int64 (K,). Scores of several
            views that are summed go up to N. Equal scores come in the order of their labels.

        Raises:
            ValueError: another shape of logits, `top_k` below 1, or an unknown aggregation.
        """
        logits = getattr(outputs, "logits", outputs)
        if logits.dim() == 2:
            logits = logits[:, None]
        scores = combine_views(logits, view_aggregation or self.view_aggregation, multi_label=multi_label)
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}")
        ordered, labels = scores.cpu().sort(dim=-1, descending=True, stable=True)
        return [
            {"scores": best, "labels": classes}
            for best, classes in zip(ordered[:, :top_k], labels[:, :top_k], strict=True)
        ]

    def _settings(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Join the call's arguments with the processor's attributes and check them."""
        known = [*VideoViewsKwargs.__annotations__]
        unknown = sorted(set(kwargs) - set(known))
        if unknown:
            raise ValueError(f"{type(self).__name__} has no argument {unknown[0]!r}; it has {', '.join(known)}")
        given = {name: value for name, value in kwargs.items() if value is not None}
        for name, way_out in _UNSUPPORTED.items():
            if given.get(name):
                raise ValueError(f"{type(self).__name__} does not take {name}={given[name]!r}: {way_out}")
        try:
            validate_typed_dict(VideoViewsKwargs, given)
        except StrictDataclassError as error:
            raise ValueError(" ".join(str(error).split())) from error
        settings = {name: given.get(name, getattr(self, name, None)) for name in known}
        settings = settings | self._standardize_kwargs(**settings)
        check_aggregation(settings["view_aggregation"])
        return settings

    def _prepare_video(
        self, video: Video, given_rate: float, settings: dict[str, Any]
    ) -> tuple[torch.Tensor, VideoMetadata]:
        """Read the frames of one video's views, once each; gives (N, T, 3, H, W) float32 and what was taken."""
        rate = video.frame_rate if math.isnan(given_rate) else given_rate
        if settings["do_sample_frames"]:
            positions = _frame_sampling(settings).views(video.num_frames, rate, settings["num_views"])
            numbers = frames_shown_at(video, positions)
        elif settings["num_views"] != 1:
            raise ValueError(f"do_sample_frames=False gives one view in time, but num_views={settings['num_views']}")
        else:
            numbers = np.arange(video.num_frames)[None]
        unique, place = np.unique(numbers, return_inverse=True)
        crops: torch.Tensor | None = None
        done = 0
        for block in _blocks(video.read(unique)):
            height, width = block.shape[1:3]
            frames = self._crop(torch.from_numpy(block).permute(0, 3, 1, 2), settings)
            if crops is None:
                crops = frames.new_empty((len(frames), len(unique), *frames.shape[2:]))
            crops[:, done : done + len(block)] = frames
            done += len(block)
        place = torch.from_numpy(place.reshape(numbers.shape)).to(crops.device)
        views = crops[:, place].transpose(0, 1).flatten(0, 1)
        indices = numbers.tolist()
        metadata = VideoMetadata(
            total_num_frames=video.num_frames,
            fps=None if math.isnan(rate) else rate,
            width=width,
            height=height,
            duration=None if math.isnan(rate) else video.num_frames / rate,
            frames_indices=indices[0] if len(indices) == 1 else indices,
        )
        return views, metadata

    def _crop(self, frames: torch.Tensor, settings: dict[str, Any]) -> torch.Tensor:
        """Resize, crop and normalise uint8 frames (N, 3, H, W); gives float32 (num_crops, N, 3, h, w)."""
        frames = frames.to(settings["device"] or frames.device).float()
        height, width = _resized_size(*frames.shape[-2:], settings)
        if settings["do_resize"]:
            # The published pipelines interpolate without smoothing; torchvision's default would blur when shrinking.
            frames = self.resize(
                frames, SizeDict(height=height, width=width), resample=settings["resample"], antialias=False
            )
        crops = torch.stack([frames[..., y : y + h, x : x + w] for y, x, h, w in _crops(height, width, settings)])
        return self.rescale_and_normalize(
            crops,
            *(settings[name] for name in ("do_rescale", "rescale_factor", "do_normalize")),
            settings["image_mean"],
            settings["image_std"],
        )


def split_videos(videos: Any) -> list[VideoSource]:
    """Tell one video from a batch.

    Args:
        videos: as for `VideoViewsProcessor.preprocess`.

    Returns:
        the videos, each as `open_video` takes it.

    Raises:
        ValueError: an empty list, or one that mixes pictures with videos.
    """
    if isinstance(videos, Sequence) and not isinstance(videos, str | bytes | bytearray | memoryview):
        if len(videos) == 0:
            raise ValueError("videos must hold at least one video, got an empty list")
        pictures = [_is_picture(item) for item in videos]
        if all(pictures):
            return [videos]
        if any(pictures):
            raise ValueError("videos must be either the pictures of one video or a list of videos, got both mixed")
        return list(videos)
    if hasattr(videos, "shape") and len(videos.shape) == 5:
        return list(videos)
    return [videos]


def _is_picture(item: Any) -> bool:
    return hasattr(item, "convert") or (hasattr(item, "shape") and len(item.shape) < 4)


def _blocks(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Gather frames (H, W, 3) of one size into arrays (N, H, W, 3) of a bounded size."""
    block: list[np.ndarray] = []
    for frame in frames:
        block.append(frame)
        if len(block) * frame.shape[0] * frame.shape[1] >= _BLOCK_PIXELS:
            yield np.stack(block)
            block = []
    if block:
        yield np.stack(block)


def _frame_sampling(settings: Mapping[str, Any]) -> FrameSampling:
    return FrameSampling(
        strategy=settings["sampling_strategy"],
        num_frames=settings["num_frames"],
        sampling_rate=settings["sampling_rate"],
        target_fps=settings["target_fps"],
        use_offset=settings["use_offset"],
    )


def _resized_size(height: int, width: int, settings: Mapping[str, Any]) -> tuple[int, int]:
    size = settings["size"]
    if not settings["do_resize"]:
        return height, width
    if size.shortest_edge and not size.longest_edge:
        return short_side_size(height, width, size.shortest_edge)
    if size.height and size.width:
        return size.height, size.width
    raise ValueError(f"size must be {{'shortest_edge': S}} or {{'height': H, 'width': W}}, got {dict(size)}")


def _crops(height: int, width: int, settings: Mapping[str, Any]) -> list[tuple[int, int, int, int]]:
    """Crops (y, x, height, width) of a resized frame."""
    if not settings["do_center_crop"]:
        if settings["num_crops"] != 1:
            raise ValueError(f"num_crops={settings['num_crops']} needs do_center_crop=True")
        return [(0, 0, height, width)]
    crop = settings["crop_size"].height, settings["crop_size"].width
    return [(y, x, *crop) for y, x in crop_offsets(height, width, *crop, settings["num_crops"])]


def _given_rates(video_metadata: Any, num_videos: int) -> list[float]:
    """Frame rates that the caller states, NaN where none is stated."""
    if video_metadata is None:
        return [math.nan] * num_videos
    entries = [video_metadata] if isinstance(video_metadata, Mapping) else list(video_metadata)
    if len(entries) != num_videos:
        raise ValueError(f"video_metadata must have one entry for each of {num_videos} videos, got {len(entries)}")
    rates = [math.nan if entry is None or entry.get("fps") is None else float(entry["fps"]) for entry in entries]
    wrong = [rate for rate in rates if not math.isnan(rate) and not 0 < rate < math.inf]
    if wrong:
        raise ValueError(f"the fps of video_metadata must be positive, got {wrong[0]}")
    return rates


def _channel_order(input_data_format: str | ChannelDimension | None) -> str | None:
    if input_data_format is None:
        return None
    return "first" if ChannelDimension(input_data_format) is ChannelDimension.FIRST else "last"
