"""Curves of a run that learned from pictures without labels."""

from hf_vidmodels.visualization.pseudo_label_sheet import draw_stream_curves


def test_a_value_that_was_logged_once_is_seen_as_a_point():
    rows = [
        {"step": 6, "conv_accuracy": 0.1},
        {"step": 12, "conv_accuracy": 0.2, "mask_ratio": 0.5, "kept_right": 0.4, "pseudo_label_accuracy": 0.6},
    ]
    heads, labels = draw_stream_curves(rows).axes
    assert [line.get_marker() for line in heads.get_lines()] == ["None"]
    assert [line.get_marker() for line in labels.get_lines()] == ["."] * 3
