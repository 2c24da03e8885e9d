import numpy as np
import pytest

from hf_vidmodels.data.instances.object_boxes import BOX_RULES, find_box_faults, refuse_faulty_boxes

NAN = float("nan")


def rule_of(box, height=100.0, width=200.0):
    found = [
        rule for rule, broken in find_box_faults([box], np.array([height]), np.array([width])).items() if broken[0]
    ]
    assert len(found) < 2
    return found[0] if found else None


@pytest.mark.parametrize(
    ("box", "rule"),
    [
        ([0, 0, 200, 100], None),
        ([-1.5, -1, 203, 102], None),
        ([150.2, 60, 51, 41], None),
        ([190, 10, 15, 20], "outside edge"),
        ([NAN, 0, 10, 10], "not_finite"),
        ([0, 0, float("inf"), 10], "not_finite"),
        ([10, 10, 0, 10], "no_size"),
        ([10, 10, 10, -4], "no_size"),
        ([100, 60, 180, 95], "xyxy"),
        ([20, 50, 120, 70], "xyxy"),
        ([200, 10, 20, 20], "outside"),
        ([10, 100.5, 20, 20], "outside"),
        ([-30, 10, 30, 20], "outside"),
    ],
)
def test_each_impossible_box_breaks_one_rule(box, rule):
    # A box that only reaches beyond the edge and does not fit as corners either is cut at the edge where it is used.
    assert rule_of(box) == (None if rule == "outside edge" else rule)


def test_boxes_that_all_lie_in_the_first_pixel_are_relative():
    relative = [[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1.0004], [0.5, 0.5, 0, 0.1]]
    assert find_box_faults(relative)["relative"].tolist() == [True, True, False]
    assert not find_box_faults([*relative, [10, 20, 3, 4]])["relative"].any(), "small ones among others may be true"
    assert rule_of([0, 0, 1, 1], height=1.0, width=1.0) is None
    with pytest.raises(ValueError, match=r"bbox \[0.1, 0.2, 0.3, 0.4\] of a lies inside the first pixel .* multiply"):
        refuse_faulty_boxes(np.array(relative[:2]), ["a", "b"])


def test_nothing_about_the_picture_is_checked_where_its_size_is_unknown():
    assert rule_of([1000, 60, 1180, 95], NAN, NAN) is None
    assert not any(broken.any() for broken in find_box_faults(np.zeros((0, 4))).values())
    assert [rule for rule, broken in find_box_faults([[1000, 60, 0, 95]]).items() if broken[0]] == ["no_size"]


def test_the_first_faulty_box_is_named_with_the_way_out():
    boxes = np.array([[0, 0, 5, 5], [100, 60, 180, 95], [110, 60, 190, 95]], dtype=float)
    names = ["annotation 4", "annotation 7", "annotation 8"]
    sizes = np.full(3, 100.0), np.full(3, 200.0)
    with pytest.raises(ValueError) as error:
        refuse_faulty_boxes(boxes, names, *sizes, where="a.json: ")
    assert str(error.value) == (
        "a.json: the bbox [100, 60, 180, 95] of annotation 7 reaches beyond its picture of 200 x 100 but would fit as "
        "two corners (and 1 more like it); boxes are x, y, width, height; convert x1, y1, x2, y2 first"
    )
    refuse_faulty_boxes(boxes[:1], names[:1], sizes[0][:1], sizes[1][:1])
    assert set(BOX_RULES) == set(find_box_faults(boxes, *sizes))
