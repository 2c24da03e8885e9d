import numpy as np
import pytest

from hf_vidmodels.visualization.loss_curve import draw_loss_curve


def training_rows(stage, steps, first=1):
    return [
        {"stage": stage, "epoch": step // 10, "step": step, "loss": 1 / step, "learning_rate": 1e-4}
        for step in range(first, first + steps)
    ]


def drawn(axes):
    return [(line.get_xdata().tolist(), line.get_ydata().tolist()) for line in axes.lines if len(line.get_xdata())]


def test_steps_that_start_again_in_every_stage_are_counted_on():
    figure = draw_loss_curve(training_rows("step_0", 5) + training_rows("step_1", 4))
    assert [steps for steps, _ in drawn(figure.axes[0])] == [[1, 2, 3, 4, 5], [6, 7, 8, 9]]
    assert [text.get_text() for text in figure.axes[0].texts] == ["step_0", "step_1"]


def test_steps_that_go_on_over_stages_stay():
    figure = draw_loss_curve(training_rows("pretrain", 5) + training_rows("finetune", 4, first=6))
    assert [steps for steps, _ in drawn(figure.axes[0])] == [[1, 2, 3, 4, 5], [6, 7, 8, 9]]


def test_the_later_of_two_rows_for_one_step_counts():
    rows = [*training_rows("s", 3), {"stage": "s", "step": 2, "loss": 7.0}]
    assert drawn(draw_loss_curve(rows).axes[0]) == [([1, 2, 3], [1.0, 7.0, pytest.approx(1 / 3)])]


@pytest.mark.parametrize("key", ["average_mAP", "eval_average_mAP"])
@pytest.mark.parametrize("asked", [None, "average_mAP"])
def test_the_evaluation_metric_gets_a_panel_of_its_own(key, asked):
    rows = [*training_rows("s", 10), {"stage": "s", "epoch": 1, "step": 10, key: 0.25}]
    loss_axes, metric_axes = draw_loss_curve(rows, metric=asked).axes
    assert metric_axes.get_ylabel() == "average mAP"
    assert drawn(metric_axes) == [([10], [0.25])]
    assert metric_axes.get_title(loc="left") == "highest: 0.25 at step 10"


def test_other_numbers_of_training_rows_are_no_metric():
    rows = [row | {"loss_instance": 0.5} for row in training_rows("s", 3)]
    assert len(draw_loss_curve(rows).axes) == 1


def test_many_steps_get_a_running_mean():
    rows = [row | {"loss": 1.0 + (-1) ** row["step"]} for row in training_rows("s", 80)]
    (_, losses), (steps, means) = drawn(draw_loss_curve(rows, title="$ and $").axes[0])
    assert np.ptp(losses) == 2.0 and np.ptp(means) == pytest.approx(0.0)
    assert steps[-1] == 80


def test_rows_without_stage_or_with_one_step_are_drawn():
    figure = draw_loss_curve([{"step": 1, "loss": 0.5}])
    figure.draw_without_rendering()
    assert drawn(figure.axes[0]) == [([1], [0.5])]


@pytest.mark.parametrize(
    ("rows", "metric", "sentence"),
    [
        ([], None, r"no row with a 'loss' to draw \(it has 0 rows\)"),
        ([{"step": 1, "mAP": 0.1}], None, "no row with a 'loss'"),
        ([{"loss": 1.0}], None, "row 1 of the training log has no number as 'step'"),
        ([{"step": 1, "loss": 1.0}], "mAP", "no row of the training log holds the metric 'mAP'"),
    ],
)
def test_logs_that_cannot_be_drawn_are_refused(rows, metric, sentence):
    with pytest.raises(ValueError, match=sentence):
        draw_loss_curve(rows, metric=metric)
