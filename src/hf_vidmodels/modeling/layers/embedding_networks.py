"""Retrieval networks around a transformers image encoder: pictures to one embedding, frames to one embedding."""

import torch
from torch import nn


class ImageEmbeddingNetwork(nn.Module):
    """Encoder, average pooling, linear embedding, L2 norm.

    Args:
        encoder: network whose `last_hidden_state` (or plain output) is a feature map (B, C, h, w).
        num_channels: C.
        embedding_size: width E of the embedding.
        normalize: whether embeddings have unit L2 norm.
    """

    def __init__(self, encoder: nn.Module, num_channels: int, embedding_size: int, normalize: bool = True) -> None:
        super().__init__()
        self.encoder = encoder
        self.embedding = nn.Linear(num_channels, embedding_size)
        self.normalize = normalize

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Embed pictures (B, 3, H, W) as (B, E)."""
        embedding = self.embedding(pooled_features(self.encoder, pixel_values))
        return nn.functional.normalize(embedding, dim=-1) if self.normalize else embedding


class RecurrentEmbeddingNetwork(nn.Module):
    """Encoder and average pooling of every frame, an LSTM over the frames, linear embedding of its last output.

    Args:
        encoder: network whose `last_hidden_state` (or plain output) is a feature map (B, C, h, w).
        num_channels: C.
        hidden_size: width of the LSTM.
        embedding_size: width E of the embedding.
        normalize: whether embeddings have unit L2 norm.
    """

    def __init__(
        self, encoder: nn.Module, num_channels: int, hidden_size: int, embedding_size: int, normalize: bool = True
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.lstm = nn.LSTM(num_channels, hidden_size, batch_first=True)
        self.embedding = nn.Linear(hidden_size, embedding_size)
        self.normalize = normalize

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Embed videos (B, T, 3, H, W) as (B, E)."""
        features = pooled_features(self.encoder, pixel_values.flatten(0, 1))
        outputs, _ = self.lstm(features.view(*pixel_values.shape[:2], -1))
        embedding = self.embedding(outputs[:, -1])
        return nn.functional.normalize(embedding, dim=-1) if self.normalize else embedding


def pooled_features(encoder: nn.Module, pixel_values: torch.Tensor) -> torch.Tensor:
    """Average the encoder's feature map over its cells: (B, C)."""
    output = encoder(pixel_values)
    return getattr(output, "last_hidden_state", output).mean((-2, -1))
