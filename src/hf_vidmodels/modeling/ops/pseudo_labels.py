"""Pseudo-labels from the answers of two heads, all rules of Semiformer as tables (Weng et al., ECCV 2022).

FixMatch (Sohn et al., NeurIPS 2020) is the rule with one head. Facts of the official code (commit 0e3b5be).
"""

import torch

from ...configuration.configuration_semiformer import CONV, TRANSFORMER, VOTE_RULES, VoteRule


def pseudo_labels(
    conv_logits: torch.Tensor,
    transformer_logits: torch.Tensor,
    source: str,
    threshold: float,
    temperature: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Label pictures by what both heads say of them.

    Args:
        conv_logits: (B, C).
        transformer_logits: (B, C).
        source: one of `PSEUDO_LABEL_SOURCES`.
        threshold: least confidence that counts.
        temperature: logits are divided by it.

    Returns:
        class ids (B,), and float32 weights (B,): 1 or a share for labels that count, 0 for those that do not, whose
        class means nothing.
    """
    conv, transformer = conv_logits.float(), transformer_logits.float()
    if temperature != 1:
        conv, transformer = conv / temperature, transformer / temperature
    if source in VOTE_RULES:
        return _vote(conv.softmax(-1), transformer.softmax(-1), VOTE_RULES[source], threshold)
    if source == CONV:
        probabilities = conv.softmax(-1)
    elif source == TRANSFORMER:
        probabilities = transformer.softmax(-1)
    elif source == "mean_logits":
        probabilities = ((conv + transformer) / 2).softmax(-1)
    else:
        probabilities = (conv.softmax(-1) + transformer.softmax(-1)) / 2
    confidences, labels = probabilities.max(-1)
    return labels, (confidences >= threshold).float()


def _vote(
    conv: torch.Tensor, transformer: torch.Tensor, rule: VoteRule, threshold: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose labels (B,) and weights (B,) from the probabilities (B, C) of both heads."""
    (conv_confidence, conv_class), (other_confidence, other_class) = conv.max(-1), transformer.max(-1)
    conv_votes, other_votes = conv_confidence >= threshold, other_confidence >= threshold
    differ = conv_votes & other_votes & (conv_class != other_class)
    takes_other = other_votes & ~conv_votes
    if rule.taken == "larger":
        takes_other = takes_other | (differ & (conv_confidence <= other_confidence))
    weights = torch.where(conv_votes, rule.only_conv, 0.0)
    weights = torch.where(other_votes & ~conv_votes, rule.only_transformer, weights)
    weights = torch.where(conv_votes & other_votes, 1.0, weights)
    weights = torch.where(differ, rule.different, weights)
    return torch.where(takes_other, other_class, conv_class), weights.float()
