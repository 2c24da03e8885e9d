import errno
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from hf_vidmodels.visualization.figures import save_figure
from hf_vidmodels.visualization.timelines import draw_timeline, draw_timelines

NAMES = ["run", "jump", "throw", "swim", "dive", "ride", "box", "row"]
PREDICTION = {
    "segments": np.array([[1.0, 3.0], [2.0, 2.5], [6.0, 12.0]]),
    "scores": np.array([0.8, 0.4, 0.2]),
    "labels": np.array([0, 0, 1]),
}
REFERENCE = {"segments": np.array([[1.0, 3.5]]), "labels": np.array([0])}
NOTHING = {"segments": np.zeros((0, 2)), "scores": np.zeros(0), "labels": np.zeros(0, dtype=int)}


def draw(prediction=PREDICTION, **options):
    return draw_timeline(prediction, **({"duration": 10.0, "label_names": NAMES} | options))


def captions(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


def bars(axes):
    """(start, end, height) of every bar of a panel."""
    return [(bar.get_x(), bar.get_x() + bar.get_width(), bar.get_height()) for bar in axes.patches]


def rendered(figure, tmp_path):
    save_figure(figure, tmp_path / "figure.png", dpi=50)
    with Image.open(tmp_path / "figure.png") as picture:
        return np.asarray(picture.convert("RGB"))


def test_every_part_has_a_panel_on_one_time_axis_in_seconds():
    figure = draw(
        reference=REFERENCE,
        attention=np.linspace(0, 1, 20),
        class_scores=np.random.default_rng(0).random((20, 8)),
        video_frames=np.zeros((30, 24, 32, 3), dtype=np.uint8),
    )
    assert [caption.split(":")[0] for caption in captions(figure)] == [
        "Video",
        "Actions",
        "Attention",
        "Class activation",
    ]
    assert all(axes.get_xlim() == (0.0, 10.0) for axes in figure.axes)
    assert figure.axes[-1].get_xlabel() == "time in seconds"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["predicted (taller = higher score)", "ground truth"]


def test_bars_lie_at_their_seconds_cut_at_the_end_of_the_video_and_taller_for_higher_scores():
    (true_bar, best, weaker, other) = bars(draw(reference=REFERENCE).axes[0])
    assert true_bar[:2] == (1.0, 3.5)
    assert best[:2] == (1.0, 3.0) and weaker[:2] == (2.0, 2.5) and other[:2] == (6.0, 10.0)
    assert best[2] == pytest.approx(2 * weaker[2]) == pytest.approx(4 * other[2])


def test_frames_keep_their_proportions(tmp_path):
    figure = draw(video_frames=np.full((100, 90, 160, 3), 128, dtype=np.uint8))
    figure.draw_without_rendering()
    extents = [picture.get_window_extent() for picture in figure.axes[0].images]
    assert 3 <= len(extents) < 100
    assert all(extent.width / extent.height == pytest.approx(160 / 90, rel=0.02) for extent in extents)


def test_what_is_left_out_is_said():
    labels = np.arange(8)
    many = {"segments": np.tile([[1.0, 2.0]], (8, 1)), "scores": np.linspace(0.1, 0.9, 8), "labels": labels}
    assert draw(many).axes[-1].get_xlabel() == "time in seconds\n(6 of 8 predictions and 6 of 8 classes shown)"
    assert draw(many, max_classes=None).axes[-1].get_xlabel() == "time in seconds"


@pytest.mark.parametrize("reference", [None, REFERENCE, {"segments": [], "labels": []}])
def test_no_prediction_is_said(reference, tmp_path):
    figure = draw(NOTHING, reference=reference, attention=np.zeros(5))
    assert captions(figure)[0] == "Actions: no action predicted"
    assert rendered(figure, tmp_path).std() > 0


def test_predictions_below_the_lowest_score_are_told_from_none():
    assert captions(draw(min_score=0.9)) == ["Actions: none of the 3 predictions reaches the lowest score to show"]


def test_the_video_without_segments_still_shows_curves(tmp_path):
    figure = draw(NOTHING, class_scores=np.random.default_rng(0).random((20, 8)))
    assert len(figure.axes[-1].lines) == 3
    rendered(figure, tmp_path)


def test_names_with_dollars_and_without_spaces_are_drawn_as_they_are(tmp_path):
    names = ["pay $5 or $\\frac{", "x" * 90, *NAMES[2:]]
    figure = draw(label_names=names, class_scores=np.ones((4, 8)), title="$ and $" + "y" * 200)
    rendered(figure, tmp_path)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[0] == "pay \\$5 or \\$\\frac{"
    assert labels[1].replace("\n", "") == "x" * 43 + "…"


def test_frames_that_are_no_rgb_pictures_are_refused():
    with pytest.raises(ValueError, match=r"video_frames\[0\] must be \(H, W, 3\) uint8 RGB, got \(4, 4\) float64"):
        draw(video_frames=np.zeros((2, 4, 4)))
    with pytest.raises(ValueError, match="video_frames is empty"):
        draw(video_frames=[])


def test_a_sheet_has_one_panel_a_video_with_its_own_seconds(tmp_path):
    predictions = {"a": PREDICTION, "b": NOTHING, "c": PREDICTION}
    for columns in (1, 2):
        figure = draw_timelines(
            predictions,
            durations={"a": 10.0, "b": 20.0, "c": 30.0},
            label_names=NAMES,
            references={"a": REFERENCE},
            columns=columns,
        )
        assert captions(figure) == [
            "a (10 s): best score 0.80",
            "b (20 s): no action predicted",
            "c (30 s): best score 0.80",
        ]
        assert [axes.get_xlim()[1] for axes in figure.axes] == [10.0, 20.0, 30.0]
        rendered(figure, tmp_path)


def test_a_sheet_names_the_video_at_fault():
    with pytest.raises(ValueError, match="durations has no entry for the video 'b'"):
        draw_timelines({"b": PREDICTION}, durations={}, label_names=NAMES)
    with pytest.raises(ValueError, match="video 'b': duration must be"):
        draw_timelines({"b": PREDICTION}, durations={"b": -1}, label_names=NAMES)
    with pytest.raises(ValueError, match="predictions is empty"):
        draw_timelines({}, durations={}, label_names=NAMES)
    with pytest.raises(ValueError, match="columns must be from 1 to 3, got 9"):
        draw_timelines({"b": PREDICTION}, durations={"b": 1}, label_names=NAMES, columns=9)


def test_saving_needs_a_picture_format(tmp_path):
    with pytest.raises(ValueError, match="figure must end in a picture format"):
        save_figure(draw(), tmp_path / "figure")
    save_figure(draw(), tmp_path / "figure.svg")
    assert "<svg" in (tmp_path / "figure.svg").read_text()


def test_a_full_disk_leaves_the_earlier_picture(tmp_path, monkeypatch):
    path = tmp_path / "figure.png"
    path.write_bytes(b"earlier")

    def fail(self, file, **options):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match=r"while writing .*figure\.png"):
        save_figure(draw(), path)
    assert path.read_bytes() == b"earlier"
    assert [entry.name for entry in tmp_path.iterdir()] == ["figure.png"]


def test_drawing_leaves_pyplot_alone():
    program = (
        "import sys, hf_vidmodels.visualization.timelines, hf_vidmodels.visualization.loss_curve\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
