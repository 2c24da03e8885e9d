"""transformers' pipeline for video classification, with batches for models that have a video processor.

The pipeline of transformers refuses `batch_size` above 1 for them, because its collator knows feature extractors and
image processors only. This one takes its place; what it answers about one video is the same.
"""

from typing import Any

import torch
from transformers import VideoClassificationPipeline
from transformers.utils import ModelOutput

from ..modeling.modeling_base import refuse_random_weights
from .addresses import fetch_video


class BatchedVideoClassificationPipeline(VideoClassificationPipeline):
    """Classifies videos: paths, `file://` and http addresses, or a list of them; arguments as in transformers.

    Example:
        >>> classify = pipeline("video-classification", model="org/stts-mvit-b", batch_size=4)
        >>> classify(["a.mp4", "https://example.org/b.webm"], top_k=1)
        [[{'score': 0.91, 'label': 'jump'}], [{'score': 0.55, 'label': 'wave'}]]

    Raises:
        ValueError: when the checkpoint lacks weights of a model of this package.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        model = self.model
        refuse_random_weights(getattr(model, "random_weights", ()), model.name_or_path or type(model).__name__)
        if self.feature_extractor is None and self.image_processor is None:
            # All that the collator asks of it is whether there is one.
            self.feature_extractor = self.video_processor

    def __call__(self, inputs: Any, **kwargs: Any) -> list[dict[str, Any]] | list[list[dict[str, Any]]]:
        """Classify one video, or each of a list or of an array (N, T, H, W, 3) or (N, T, 3, H, W)."""
        # The processor takes such an array for N videos; of one input only the first answer would be kept.
        return super().__call__(list(inputs) if len(getattr(inputs, "shape", ())) == 5 else inputs, **kwargs)

    def _sanitize_parameters(self, *, function_to_apply: str | None = None, **kwargs: Any) -> tuple[dict, ...]:
        # The transformers of Python 3.10 takes classes for exclusive whatever the model says.
        if function_to_apply is None and getattr(self.model, "is_multi_label", False):
            function_to_apply = "sigmoid"
        return super()._sanitize_parameters(function_to_apply=function_to_apply, **kwargs)

    def preprocess(self, video: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        """Prepare one video, given in any form that the processor takes or by its address."""
        # An image processor's videos are read by transformers itself.
        return super().preprocess(video if self.video_processor is None else fetch_video(video), **kwargs)

    def _forward(self, model_inputs: dict[str, torch.Tensor]) -> ModelOutput:
        # The logits alone: transformers cannot take a batch of tuples of tensors apart.
        return ModelOutput(logits=self.model(**model_inputs).logits)
