import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import avg_pool3d, conv3d, max_pool3d

from hf_vidmodels.modeling.ops.covered_tokens import covered_positions, covered_tokens, jumps_over_tokens

CHANNELS = 3
triples = st.tuples(*[st.integers(1, 4)] * 3)


def poolings(kernel):
    weight = torch.randn(CHANNELS, 1, *kernel, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return (
        lambda maps, *window: max_pool3d(maps, kernel, *window),
        lambda maps, *window: avg_pool3d(maps, kernel, *window),
        lambda maps, stride, padding: conv3d(maps, weight, None, stride, padding, groups=CHANNELS),
    )


def pool(tokens, grid, pooling, *window):
    return pooling(tokens.unflatten(1, grid).permute(0, 4, 1, 2, 3), *window)


@settings(max_examples=80, deadline=None)
@given(st.tuples(*[st.integers(1, 13)] * 3), triples, st.tuples(*[st.integers(1, 9)] * 3), st.booleans())
def test_a_pooling_of_the_covered_tokens_gives_what_one_of_all_gives(grid, kernel, stride, has_class_token):
    # PyTorch pools nothing that is smaller than a kernel.
    kernel = tuple(min(pair) for pair in zip(grid, kernel, strict=True))
    margins = tuple(size // 2 for size in kernel)
    count = grid[0] * grid[1] * grid[2] + has_class_token
    tokens = torch.randn(2, count, CHANNELS, dtype=torch.float64, requires_grad=True)
    found, left, closer = covered_tokens(tokens, grid, kernel, stride, has_class_token)
    assert found.shape[1] == left[0] * left[1] * left[2] + has_class_token
    if has_class_token:
        assert torch.equal(found[:, 0], tokens[:, 0])
    for pooling in poolings(kernel):
        ours = pool(found[:, has_class_token:], left, pooling, closer, margins)
        expected = pool(tokens[:, has_class_token:], grid, pooling, stride, margins)
        torch.testing.assert_close(ours, expected)
        weights = torch.randn_like(ours)
        gradients = (
            torch.autograd.grad((maps * weights).sum(), tokens, retain_graph=True)[0] for maps in (ours, expected)
        )
        torch.testing.assert_close(*gradients)


def test_the_positions_in_windows_are_taken_each_once():
    def covered(*shape):
        positions, step = covered_positions(*shape, torch.device("cpu"))
        return positions.tolist(), step

    assert covered(8, 3, 4) == ([0, 1, 3, 4, 5], 3)
    assert covered(13, 3, 8) == ([0, 1, 7, 8, 9], 3)
    assert covered(9, 3, 8) == ([0, 1, 7, 8], 3)
    assert covered(5, 3, 2) == ([0, 1, 2, 3, 4], 2)
    assert covered(7, 1, 3) == ([0, 3, 6], 1)
    assert covered(5, 3, 8) == ([0, 1, 2, 3, 4], 8)


def test_strides_jump_where_they_are_larger_than_the_kernel():
    assert jumps_over_tokens((3, 3, 3), (1, 8, 8))
    assert not jumps_over_tokens((3, 3, 3), (1, 2, 3))
