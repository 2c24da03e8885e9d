"""What the `evaluate` modules of detections say of themselves: the configurations and columns that they have."""

from collections.abc import Collection, Mapping
from typing import Any

import datasets
import evaluate


def detection_metric_info(
    config_name: str,
    configurations: Collection[str],
    annotation: Mapping[str, Any],
    *,
    description: str,
    citation: str,
    inputs_description: str,
) -> evaluate.MetricInfo:
    """Describe a metric that takes a list of detections, and one of annotations, for each example.

    Args:
        config_name: the chosen configuration.
        configurations: those that there are besides `"default"`.
        annotation: types of the fields of an annotation; a detection has a `score` too.
        description: of the metric.
        citation: of its paper.
        inputs_description: of its arguments.

    Raises:
        ValueError: there is no such configuration.
    """
    if config_name not in ("default", *configurations):
        raise ValueError(f"the configuration must be one of default, {', '.join(configurations)}, got {config_name!r}")
    return evaluate.MetricInfo(
        description=description,
        citation=citation,
        inputs_description=inputs_description,
        features=datasets.Features(
            {
                "predictions": datasets.List({**annotation, "score": datasets.Value("float64")}),
                "references": datasets.List(annotation),
            }
        ),
    )
