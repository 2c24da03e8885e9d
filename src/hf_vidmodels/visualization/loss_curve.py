"""The picture of a training run: loss over steps, stage by stage, with the evaluation metric where one was logged."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from .figures import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOSS_COLOR, METRIC_COLOR = "#0072B2", "#D55E00"
BOOKKEEPING = {"stage", "epoch", "step", "loss", "learning_rate"}
EVALUATION_PREFIX = "eval_"
WIDTH, LOSS_HEIGHT, METRIC_HEIGHT = 9.0, 3.4, 2.0
# Below this many logged steps a stage's losses are drawn as they are; above, a running mean tells the trend.
SMOOTHED_FROM = 40
SMOOTHED_SHARE = 20


@dataclass(frozen=True)
class _Stage:
    """Losses and metric values of one stage at steps counted through the whole run."""

    name: str
    first_step: int
    last_step: int
    losses: tuple[np.ndarray, np.ndarray]
    metrics: tuple[np.ndarray, np.ndarray]


def draw_loss_curve(
    log_rows: Iterable[Mapping[str, Any]], *, metric: str | None = None, title: str | None = None
) -> "Figure":
    """Draw the rows of a run's `training_log.jsonl`: the loss, and below it the evaluation metric where rows carry it.

    Stages are set apart by shaded bands with their names. Steps that start again in every stage are counted on. Of
    two rows for the same stage and step, as a resumed run may log them, the later one counts.

    Args:
        log_rows: rows with `step`, optionally `stage`, and `loss` (training) or other numbers (evaluation).
        metric: name of the evaluation metric, with or without `eval_` in front. By default the first number that is
            named `eval_...` or stands in a row without `loss`.
        title: heading; none by default.

    Raises:
        ValueError: when no row holds a loss, a row has no step, or no row holds `metric`.
    """
    rows = list(log_rows)
    if not any("loss" in row for row in rows):
        raise ValueError(f"the training log holds no row with a 'loss' to draw (it has {len(rows)} rows)")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row.get("step"), Real):
            raise ValueError(f"row {number} of the training log has no number as 'step': {dict(row)}")
    metric_key = _metric_key(rows, metric)
    stages = _split_into_stages(rows, metric_key)

    num_panels = 1 if metric_key is None else 2
    heights = [LOSS_HEIGHT, METRIC_HEIGHT][:num_panels]
    figure = new_figure(figsize=(WIDTH, sum(heights) + (0.4 if title else 0.0)), layout="constrained")
    panels = figure.subplots(num_panels, 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    _draw_losses(panels[0], stages)
    if metric_key is not None:
        _draw_metric(panels[1], stages, metric_key.removeprefix(EVALUATION_PREFIX))
    from matplotlib.ticker import MaxNLocator

    for axes in panels:
        _draw_stage_bands(axes, stages)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
    _name_stages(panels[0], stages)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[-1].set_xlabel("optimisation step")
    if title:
        figure.suptitle(title.replace("$", r"\$"), x=0.01, ha="left", fontweight="bold")
    return figure


def _metric_key(rows: Sequence[Mapping[str, Any]], metric: str | None) -> str | None:
    """Key of the metric to draw, or `None` when none is asked for and no row carries one."""
    candidates = [
        key
        for row in rows
        for key, value in row.items()
        if (key.startswith(EVALUATION_PREFIX) or "loss" not in row)
        and key not in BOOKKEEPING
        and isinstance(value, Real)
    ]
    if metric is None:
        return candidates[0] if candidates else None
    for key in (metric, EVALUATION_PREFIX + metric):
        if any(key in row for row in rows):
            return key
    raise ValueError(f"no row of the training log holds the metric {metric!r}; they hold {sorted(set(candidates))}")


def _split_into_stages(rows: Sequence[Mapping[str, Any]], metric_key: str | None) -> list[_Stage]:
    names = list(dict.fromkeys(row.get("stage") for row in rows))
    stages: list[_Stage] = []
    for name in names:
        own_rows = [row for row in rows if row.get("stage") == name]
        steps = [int(row["step"]) for row in own_rows]
        previous = stages[-1].last_step if stages else 0
        offset = previous if stages and min(steps) <= previous else 0
        stages.append(
            _Stage(
                name="" if name is None else f"stage {name}" if isinstance(name, int) else str(name),
                first_step=previous,
                last_step=max(steps) + offset,
                losses=_curve(own_rows, "loss", offset),
                metrics=_curve(own_rows, metric_key, offset),
            )
        )
    return stages


def _curve(rows: Sequence[Mapping[str, Any]], key: str | None, offset: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of `key`, the last value of each step."""
    values = {int(row["step"]) + offset: float(row[key]) for row in rows if key in row}
    return np.array(sorted(values), dtype=np.int64), np.array([values[step] for step in sorted(values)])


def _draw_losses(axes: "Axes", stages: Sequence[_Stage]) -> None:
    smoothed = any(len(stage.losses[0]) >= SMOOTHED_FROM for stage in stages)
    for stage in stages:
        steps, losses = stage.losses
        if len(losses) < SMOOTHED_FROM:
            axes.plot(steps, losses, color=LOSS_COLOR, linewidth=1.2, marker="." if len(losses) == 1 else None)
            continue
        window = len(losses) // SMOOTHED_SHARE
        means = np.convolve(losses, np.full(window, 1 / window), mode="valid")
        axes.plot(steps, losses, color=LOSS_COLOR, linewidth=0.7, alpha=0.35)
        axes.plot(steps[window - 1 :], means, color=LOSS_COLOR, linewidth=1.6)
    if smoothed:
        pale, strong = (
            axes.plot([], [], color=LOSS_COLOR, linewidth=w, alpha=a)[0] for w, a in ((0.7, 0.5), (1.6, 1))
        )
        share = f"mean over {100 // SMOOTHED_SHARE}% of the stage"
        axes.legend(
            [pale, strong], ["each logged step", share], framealpha=0.9, edgecolor="none", fontsize=8, loc="best"
        )
    axes.set_ylabel("training loss")


def _draw_metric(axes: "Axes", stages: Sequence[_Stage], name: str) -> None:
    for stage in stages:
        axes.plot(*stage.metrics, color=METRIC_COLOR, linewidth=1.2, marker="o", markersize=3.5)
    values = np.concatenate([stage.metrics[1] for stage in stages])
    best = int(np.nanargmax(values)) if np.isfinite(values).any() else None
    if best is not None:
        step = np.concatenate([stage.metrics[0] for stage in stages])[best]
        axes.set_title(f"highest: {values[best]:.4g} at step {step}", loc="left", fontsize=8.5)
    axes.set_ylabel(name.replace("_", " "))


def _draw_stage_bands(axes: "Axes", stages: Sequence[_Stage]) -> None:
    for index, stage in enumerate(stages):
        if index % 2:
            axes.axvspan(stage.first_step, stage.last_step, color="0.5", alpha=0.1, linewidth=0)
    axes.set_xlim(0, max(stages[-1].last_step, 1))


def _name_stages(axes: "Axes", stages: Sequence[_Stage]) -> None:
    """Stage names above the panel, cut to the width of their band."""
    total = max(stages[-1].last_step, 1)
    for stage in stages:
        room = int((stage.last_step - stage.first_step) / total * WIDTH / 0.09)
        name = stage.name if len(stage.name) <= room else stage.name[: max(room - 1, 0)] + "\N{HORIZONTAL ELLIPSIS}"
        centre = (stage.first_step + stage.last_step) / 2
        axes.text(centre, 1.01, name, transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=8.5)
