import torch

from hf_vidmodels.modeling.ops.box_sizes import size_buckets
from hf_vidmodels.modeling.ops.mask_losses import box_bag_loss, dice_distance


def test_a_mask_that_touches_every_row_and_column_of_its_box_costs_next_to_nothing():
    box = torch.zeros(1, 8, 8)
    box[:, 2:6, 2:6] = 1
    diagonal = torch.diag(torch.tensor([0.0, 0, 1, 1, 1, 1, 0, 0]))[None]
    assert box_bag_loss(diagonal, box) < 0.001
    beyond = diagonal.clone()
    beyond[0, 7, 7] = 1
    assert box_bag_loss(beyond, box) > 0.1
    assert box_bag_loss(torch.zeros(1, 8, 8), box) > 1.9


def test_the_gradient_of_a_greatest_value_goes_to_one_pixel():
    probabilities = torch.full((1, 3, 3), 0.5, requires_grad=True)
    box_bag_loss(probabilities, torch.ones(1, 3, 3)).sum().backward()
    assert (probabilities.grad != 0).sum() == 5


def test_dice_distance_is_the_formula():
    first, second = torch.tensor([[1.0, 0.5]]), torch.tensor([[0.5, 0.5]])
    expected = 1 - 2 * 0.75 / (1.25 + 0.001 + 0.5 + 0.001)
    torch.testing.assert_close(dice_distance(first, second), torch.tensor([expected]))


def test_buckets_are_open_below_and_closed_above():
    areas = torch.tensor([1.0, 1024.0, 1025.0, 9216.0, 9217.0, 2e10])
    assert size_buckets(areas, [1024, 9216]).tolist() == [0, 0, 1, 1, 2, 2]
    assert size_buckets(areas, [1024, 9216], strict=True).tolist() == [0, -1, 1, -1, 2, -1]
