import numpy as np
from datasets import Dataset

from hf_vidmodels.data.contracts import features_for
from hf_vidmodels.data.film_checks import find_film_problems
from hf_vidmodels.data.video_writing import write_video


def rows(videos, timestamps, **more):
    columns = {
        "video_id": [f"film {number}" for number in range(len(videos))],
        "video": videos,
        "timestamp": timestamps,
        "boxes": [[] for _ in videos],
        "labels": [[] for _ in videos],
        **more,
    }
    return Dataset.from_dict(columns, features=features_for("action-detection", columns, ["walk"]))


def test_films_that_end_before_a_key_time_or_cannot_be_opened_are_named(tmp_path):
    for name in ("long", "short"):
        write_video(tmp_path / f"{name}.mp4", np.zeros((30 if name == "long" else 10, 32, 32, 3), np.uint8), 10)
    (tmp_path / "broken.mp4").write_text("nothing")
    long, short, broken = (str(tmp_path / f"{name}.mp4") for name in ("long", "short", "broken"))
    assert find_film_problems(rows([long, long, short], [2.5, 1.0, 0.5]), "train") == []
    assert find_film_problems(rows([long, short], [1.0, 2.5], excluded=[False, True]), "train") == []
    (problem,) = find_film_problems(rows([long, short, broken], [1.0, 2.5, 0.0]), "test")
    assert problem.severity == "error"
    assert problem.sentence.startswith(f"split 'test': 2 films do not fit their key times ({short} is shown from 0 s")
    assert "no key time 2.5 s" in problem.sentence and f"{broken} is not a video" in problem.sentence


def test_other_tasks_have_no_films():
    dataset = Dataset.from_dict({"video": ["a.mp4"], "label": [0]})
    assert find_film_problems(dataset, "train") == []
