from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from hf_vidmodels.modeling.ops.segments import check_segments, temporal_intersection, temporal_iou

FIXTURES = Path(__file__).parents[2] / "fixtures" / "asm_loc"

times = st.integers(0, 40).map(lambda value: value / 4)
segment_lists = st.lists(st.tuples(times, times).map(sorted), min_size=1, max_size=6).map(
    lambda rows: torch.tensor(rows, dtype=torch.float64)
)


@pytest.mark.parametrize("case", ["thumos_tiny", "activitynet_tiny"])
def test_tiou_equals_the_official_values(case):
    tensors = load_file(FIXTURES / case / "io.safetensors")
    tiou = temporal_iou(tensors["tiou.candidate"], tensors["tiou.target"])
    torch.testing.assert_close(tiou, tensors["tiou.value"], rtol=0, atol=1e-12)


@given(segment_lists, segment_lists)
def test_tiou_is_symmetric_in_range_and_unchanged_by_a_shift(a, b):
    tiou = temporal_iou(a, b)
    assert tiou.shape == (len(a), len(b))
    assert ((tiou >= 0) & (tiou <= 1)).all()
    torch.testing.assert_close(tiou, temporal_iou(b, a).T, rtol=0, atol=0)
    torch.testing.assert_close(tiou, temporal_iou(a + 8, b + 8), rtol=0, atol=0)


@given(segment_lists)
def test_a_segment_has_tiou_one_with_itself_unless_it_is_empty(segments):
    lengths = segments[:, 1] - segments[:, 0]
    assert torch.equal(temporal_iou(segments, segments).diagonal(), (lengths > 0).double())


def test_tiou_of_many_videos_equals_one_by_one():
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(3, 5, 2, generator=generator).sort(dim=-1).values
    b = torch.rand(3, 4, 2, generator=generator).sort(dim=-1).values
    one_by_one = torch.stack([temporal_iou(*pair) for pair in zip(a, b, strict=True)])
    assert torch.equal(temporal_iou(a, b), one_by_one)


def test_tiou_has_finite_gradients_where_segments_are_empty():
    segments = torch.tensor([[1.0, 1.0], [0.0, 2.0]], requires_grad=True)
    temporal_iou(segments, segments.detach()).sum().backward()
    assert torch.isfinite(segments.grad).all()


def test_segments_that_only_touch_share_no_time():
    a, b = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 2.0], [0.5, 3.0]])
    assert temporal_intersection(a, b).tolist() == [[0.0, 0.5]]


@pytest.mark.parametrize(
    ("segments", "sentence"),
    [
        (torch.zeros(3), r"proposals must have shape \(N, 2\).*got \(3,\)"),
        (torch.zeros(3, 3), r"got \(3, 3\)"),
        (torch.tensor([[0.0, 1.0], [2.0, 1.0]]), r"end >= start, got \[2.0, 1.0\] at row 1"),
        (torch.tensor([[0.0, float("nan")]]), "finite.*at row 0"),
    ],
)
def test_wrong_segments_are_named(segments, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_segments(segments, "proposals")
