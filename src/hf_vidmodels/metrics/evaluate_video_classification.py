"""Multi-view video classification accuracy as an `evaluate` metric; it needs no network.

```python
metric = evaluate.load("src/hf_vidmodels/metrics/evaluate_video_classification.py")
metric.add_batch(predictions=probabilities, references=labels, video_ids=ids)      # one row per view
metric.compute(aggregation="mean")        # {"top1_accuracy": ..., "top5_accuracy": ..., "mean_class_accuracy": ...}
```
"""

import datasets
import evaluate
import numpy as np

# evaluate.load copies this one file out of the package, so that relative imports would not reach their modules.
from hf_vidmodels.metrics.classification_accuracy import group_views, mean_class_accuracy, topk_accuracy

DESCRIPTION = """
Top-1, top-5 and mean class accuracy of videos that were each seen in several views, whose class probabilities are
summed, averaged or maximised first. Equal to the evaluators of SlowFast (sum) and MMAction2 (mean).
"""

INPUTS_DESCRIPTION = """
Args:
    predictions: for each view the probabilities of all classes.
    references: for each view the class id of its video.
    video_ids: for each view the id of its video; views with one id are one video, which counts once.
    aggregation: "sum", "mean" or "max" of the probabilities of a video's views.
    top_k: how many classes a video may be among; those above the number of classes are left out.
Returns:
    "topK_accuracy" for each K and "mean_class_accuracy", fractions in [0, 1], and "num_videos".
"""

CITATION = """
@inproceedings{feichtenhofer2019slowfast,
  title={{SlowFast} Networks for Video Recognition},
  author={Feichtenhofer, Christoph and Fan, Haoqi and Malik, Jitendra and He, Kaiming},
  booktitle={ICCV},
  year={2019}
}
"""


class VideoClassificationAccuracy(evaluate.Metric):
    """`group_views` and the accuracies behind the interface of `evaluate`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS_DESCRIPTION,
            features=datasets.Features(
                {
                    "predictions": datasets.List(datasets.Value("float64")),
                    "references": datasets.Value("int64"),
                    "video_ids": datasets.Value("string"),
                }
            ),
        )

    def _compute(
        self,
        predictions: list[list[float]],
        references: list[int],
        video_ids: list[str],
        aggregation: str = "sum",
        top_k: tuple[int, ...] = (1, 5),
    ) -> dict[str, float]:
        lengths = {len(row) for row in predictions}
        if len(lengths) > 1:
            raise ValueError(f"predictions must hold as many probabilities for every view, got {sorted(lengths)}")
        videos = group_views(np.array(predictions), np.array(references), video_ids, aggregation=aggregation)
        num_classes = videos.scores.shape[1]
        accuracies = {
            f"top{k}_accuracy": topk_accuracy(videos.scores, videos.labels, k) for k in top_k if k <= num_classes
        }
        accuracies["mean_class_accuracy"] = mean_class_accuracy(videos.scores, videos.labels)
        return {**accuracies, "num_videos": len(videos.labels)}
