import pytest
import torch

from hf_vidmodels.modeling.ops.classification_loss import classification_loss

LOGITS = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


def test_class_ids_and_their_one_hot_rows_give_the_same_loss():
    ids = torch.tensor([1, 3, 0])
    one_hot = torch.nn.functional.one_hot(ids, 4).float()
    torch.testing.assert_close(classification_loss(LOGITS, ids), classification_loss(LOGITS, one_hot))


def test_independent_classes_have_a_binary_cross_entropy_each():
    labels = torch.tensor([[1.0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
    probabilities = LOGITS.sigmoid()
    expected = -(labels * probabilities.log() + (1 - labels) * (1 - probabilities).log()).mean()
    torch.testing.assert_close(classification_loss(LOGITS, labels, multi_label=True), expected)


def test_several_classes_are_never_taken_for_target_probabilities():
    labels = torch.tensor([[1.0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]])
    with pytest.raises(ValueError, match="must sum to 1 for each example, got a sum of 2; for examples of several"):
        classification_loss(LOGITS, labels)


@pytest.mark.parametrize(
    ("labels", "multi_label", "message"),
    [
        (torch.tensor([0, 1, 4]), False, r"class ids 0\.\.3 for num_labels=4, got 4"),
        (torch.tensor([0, 1, -100]), False, r"class ids 0\.\.3 for num_labels=4, got -100"),
        (torch.zeros(3, 5), False, r"target probabilities of shape \(3, 4\), got \(3, 5\)"),
        (torch.tensor([0, 1, 2]), True, r"0 or 1 for each class: shape \(3, 4\), got \(3,\)"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, multi_label, message):
    with pytest.raises(ValueError, match=message):
        classification_loss(LOGITS, labels, multi_label=multi_label)
