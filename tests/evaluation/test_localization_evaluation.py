import numpy as np
import pytest

from hf_vidmodels import AsmLocConfig
from hf_vidmodels.data.features.video_table import VideoTable
from hf_vidmodels.evaluation.localization_evaluation import better_step, score_localization

TRUE = {"segments": np.array([[1.0, 3.0]]), "labels": np.array([0])}
VIDEOS = VideoTable(["a"], [None], [[0]], {"a": TRUE}, [10.0], [None])
HIT, MISS = ({"a": {**TRUE, "segments": np.array([at]), "scores": np.array([0.9])}} for at in ([1.0, 3.0], [7.0, 9.0]))


@pytest.mark.parametrize(
    ("steps", "better"),
    [([HIT, MISS], 0), ([MISS, HIT], None), ([HIT, HIT], None), ([MISS, HIT, MISS], 1), ([MISS], None)],
)
def test_a_step_that_scores_higher_than_the_last_one_is_named(steps, better):
    config = AsmLocConfig(num_labels=1, hidden_size=8, num_attention_heads=2)
    evaluation = score_localization(dict(enumerate(steps)), VIDEOS, config, "test")
    assert better_step(evaluation.metrics) == better
    title = evaluation.tables[0]["title"]
    assert ("scores higher than the last one" in title) == (better is not None)
    assert better is None or f"predict gets --step {better}" in title
