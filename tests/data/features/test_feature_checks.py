import numpy as np
import pytest
from datasets import Dataset

from hf_vidmodels.data.features.feature_checks import find_feature_problems


@pytest.fixture
def split(tmp_path):
    """Six videos of 25 snippets, 16 s each."""
    for index in range(6):
        np.save(tmp_path / f"v{index}.npy", np.zeros((25, 4), dtype=np.float32))
    return Dataset.from_dict(
        {
            "video_id": [f"v{index}" for index in range(6)],
            "features": [str(tmp_path / f"v{index}.npy") for index in range(6)],
            "duration": [16.0] * 6,
            "fps": [25.0] * 6,
            "frames_per_snippet": [16] * 6,
        }
    )


def replace_features(split, index, rows):
    np.save(split["features"][index], rows)


def test_good_features_have_no_problem(split):
    assert find_feature_problems(split) == []
    assert find_feature_problems(split, 4, read_values=False) == []
    assert find_feature_problems(split.remove_columns("features")) == []


@pytest.mark.parametrize("read_values", [True, False])
def test_features_of_another_width_are_named(split, read_values):
    replace_features(split, 3, np.zeros((25, 5), dtype=np.float32))
    (problem,) = find_feature_problems(split, read_values=read_values)
    assert problem.severity == "error" and "v3.npy has features of size 5 where 4 are expected" in problem.sentence
    assert len(find_feature_problems(split, 5, read_values=read_values)) == 5


def test_values_are_read_only_when_asked_for(split):
    replace_features(split, 2, np.full((25, 4), np.nan, dtype=np.float32))
    assert "v2.npy has the value nan in row 0" in find_feature_problems(split)[0].sentence
    assert find_feature_problems(split, read_values=False) == []


def test_many_bad_files_are_counted(split):
    for index in range(6):
        replace_features(split, index, np.zeros((0, 4), dtype=np.float32))
    problems = find_feature_problems(split)
    assert "has no rows" in problems[0].sentence
    assert problems[-1].sentence == "1 more feature files cannot be used"


def test_a_rate_that_does_not_fit_is_one_warning_for_all_videos(split):
    for index in (1, 4, 5):
        replace_features(split, index, np.zeros((30, 4), dtype=np.float32))
    (problem,) = find_feature_problems(split)
    assert problem.severity == "warning"
    assert "features of v1 span 19.2 s" in problem.sentence and "30.0 fps" in problem.sentence
    assert problem.sentence.endswith("; the same holds for 2 more videos (v4, v5)")


def test_features_far_longer_than_their_video_are_an_error(split):
    replace_features(split, 1, np.zeros((250, 4), dtype=np.float32))
    (problem,) = find_feature_problems(split)
    assert problem.severity == "error"
    assert "1 videos are far longer than these (v1: 160.0 s of features, 16.0 s of video)" in problem.sentence
