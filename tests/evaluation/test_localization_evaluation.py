import numpy as np
import pytest

from hf_vidmodels import AsmLocConfig
from hf_vidmodels.data.features.video_table import VideoTable
from hf_vidmodels.evaluation.localization_evaluation import better_step, clear_segments, score_localization

TRUE = {"segments": np.array([[1.0, 3.0]]), "labels": np.array([0])}
VIDEOS = VideoTable(["a"], [None], [[0]], {"a": TRUE}, [10.0], [None])
HIT, MISS = ({"a": {**TRUE, "segments": np.array([at]), "scores": np.array([0.9])}} for at in ([1.0, 3.0], [7.0, 9.0]))


CONFIG = AsmLocConfig(num_labels=1, hidden_size=8, num_attention_heads=2)


@pytest.mark.parametrize(
    ("steps", "answering", "better"),
    [
        ([HIT, MISS], None, 0),
        ([HIT, MISS], 0, None),
        ([MISS, HIT], None, None),
        ([MISS, HIT], 0, 1),
        ([HIT, HIT], None, None),
        ([HIT, HIT], 0, None),
        ([MISS, HIT, MISS], None, 1),
        ([MISS], None, None),
    ],
)
def test_a_step_that_scores_higher_than_the_answering_one_is_named(steps, answering, better):
    config = AsmLocConfig(**CONFIG.to_dict() | {"answering_step": answering})
    evaluation = score_localization(dict(enumerate(steps)), VIDEOS, config, "test")
    answer = len(steps) - 1 if answering is None else answering
    assert better_step(evaluation.metrics, answer) == better
    assert evaluation.metrics["average_mAP"] == evaluation.metrics[f"average_mAP_step{answer}"]
    title = evaluation.tables[0]["title"]
    assert (f"scores higher than step {answer}" in title) == (better is not None)
    assert better is None or f"predict gets --step {better}" in title


def test_what_is_drawn_of_a_video_is_chosen_by_score():
    found = {
        "segments": np.arange(8.0).reshape(4, 2),
        "scores": np.array([0.8, 0.3, 0.4, -0.1]),
        "labels": np.arange(4),
    }
    assert clear_segments(found)["labels"].tolist() == [0, 2]
    nothing = {name: values[:0] for name, values in found.items()}
    assert len(clear_segments(nothing)["labels"]) == 0
