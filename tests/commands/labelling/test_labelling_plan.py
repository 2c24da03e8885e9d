import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_vidmodels.commands.labelling.labelling_plan import _portion_starts, make_plan
from mask_examples import small_coco_file, write_json_file, write_pictures


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 12))
def test_portions_hold_all_boxes_in_order_and_whole_pictures_where_these_fit(counts, capacity):
    pictures = np.repeat(np.arange(len(counts)) * 3, counts)
    starts = _portion_starts(pictures, capacity)
    assert starts[0] == 0 and starts[-1] == len(pictures)
    sizes = np.diff(starts)
    assert (sizes > 0).all() and (sizes <= capacity).all()
    parts = [set(pictures[a:b]) for a, b in zip(starts[:-1], starts[1:], strict=True)]
    for picture, count in zip(np.arange(len(counts)) * 3, counts, strict=True):
        assert count > capacity or sum(picture in part for part in parts) == 1
    # No two neighbours would have fitted together, unless a large picture was cut between them.
    for number in range(len(sizes) - 1):
        cut = parts[number] & parts[number + 1]
        following = counts[pictures[starts[number + 1]] // 3]
        assert cut or sizes[number] + following > capacity


@pytest.fixture
def annotated(tmp_path):
    write_pictures(tmp_path, "a.png", "b.png")
    return write_json_file(tmp_path / "a.json", small_coco_file()), tmp_path


def test_boxes_of_one_picture_stand_together_in_the_order_of_the_pictures(annotated):
    plan = make_plan(*annotated, batch_size=1)
    assert plan.file.ids[plan.order].tolist() == [3, 5, 9]
    assert [(picture, plan.file.ids[rows].tolist()) for picture, rows in plan.by_picture(0)] == [(0, [3]), (1, [5, 9])]
    assert plan.num_portions == 1 and plan.size(0) == (40, 60)
    assert plan.corners(plan.rows(0)).tolist()[1] == [10.5, 5.25, 30.5, 25.25]
    assert plan.corners(plan.order).dtype == np.float32


def test_rules_tell_boxes_apart_and_the_side_is_a_setting(annotated):
    plan = make_plan(*annotated, min_side=20)
    assert plan.file.ids[plan.dropped["too_small"]].tolist() == [5, 9] and plan.order.tolist() == [1]
    with pytest.raises(
        ValueError, match="of 3 boxes, 3 because a side of the box is at most 70 pixels long were dropped"
    ):
        make_plan(*annotated, min_side=70)


def test_pictures_are_found_by_the_last_part_of_their_names(tmp_path):
    content = small_coco_file()
    for image in content["images"]:
        image["file_name"] = f"train2017/{image['file_name']}"
    write_pictures(tmp_path / "elsewhere", "a.png", "b.png")
    plan = make_plan(write_json_file(tmp_path / "a.json", content), tmp_path / "elsewhere")
    assert plan.paths[1] == str(tmp_path / "elsewhere" / "a.png")
    with pytest.raises(FileNotFoundError, match="annotation 3 is missing"):
        make_plan(tmp_path / "a.json", tmp_path)
