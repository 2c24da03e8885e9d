"""What a layer gives, read as feature maps of images or frames: convolution maps, or tokens on a known grid."""

from dataclasses import dataclass, replace

import torch

from ...configuration.configuration_l2_caf import L2CafConfig


@dataclass(frozen=True)
class LayerMaps:
    """Feature maps of B images (T = 1) or videos of T frames.

    Attributes:
        tensor: (B * T, C, h, w).
        num_frames: T.
        leading_tokens: (B * T, N, C) tokens before those on the grid (class token), or `None` for convolution maps.
    """

    tensor: torch.Tensor
    num_frames: int = 1
    leading_tokens: torch.Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width (h, w)."""
        return tuple(self.tensor.shape[-2:])

    @property
    def is_plain(self) -> bool:
        """Whether these are convolution maps of images."""
        return self.leading_tokens is None and self.num_frames == 1

    def is_constant(self) -> torch.Tensor:
        """Give (B,) whether the map of an image is the same in every cell (of a video: in every frame)."""
        same = (self.tensor == self.tensor[..., :1, :1]).flatten(1).all(1)
        return same.view(-1, self.num_frames).all(1)

    def select(self, images: torch.Tensor) -> "LayerMaps":
        """Copy the maps of the images with these indices, (P,)."""

        def rows(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.view(-1, self.num_frames, *tensor.shape[1:])[images].flatten(0, 1)

        leading = None if self.leading_tokens is None else rows(self.leading_tokens)
        return replace(self, tensor=rows(self.tensor), leading_tokens=leading)

    def filtered(self, filters: torch.Tensor) -> torch.Tensor:
        """Scale all channels by (B, T, h, w) filters and give what the layer would give, in its own form."""
        scaled = self.tensor * filters.flatten(0, 1)[:, None].to(self.tensor.dtype)
        if self.leading_tokens is None:
            return scaled
        return torch.cat([self.leading_tokens, scaled.flatten(2).transpose(1, 2)], 1)


def read_layer_maps(
    layer_output: torch.Tensor, name: str, pixel_values: torch.Tensor, config: L2CafConfig
) -> LayerMaps:
    """Read a layer's output as feature maps.

    Args:
        layer_output: (B * T, C, h, w), or tokens (B * T, N, C).
        name: of the layer, for messages.
        pixel_values: (B, 3, H, W) or (B, T, 3, H, W).
        config: for `token_grid`, or the patch size of the network.

    Raises:
        ValueError: when it is neither, the grid of tokens is not known, there is one cell only, or values are NaN.
    """
    num_frames = pixel_values.shape[1] if pixel_values.dim() == 5 else 1
    leading = None
    if layer_output.dim() == 3:
        rows, columns = _token_grid(layer_output, name, pixel_values, config)
        num_leading = layer_output.shape[1] - rows * columns
        leading = layer_output[:, :num_leading]
        layer_output = layer_output[:, num_leading:].transpose(1, 2).unflatten(2, (rows, columns)).contiguous()
    if layer_output.dim() != 4 or len(layer_output) != len(pixel_values) * num_frames:
        raise ValueError(
            f"filter_layer {name!r} gives a tensor of shape {tuple(layer_output.shape)}, not a feature map "
            f"(B, C, h, w); choose another layer"
        )
    if layer_output.shape[-1] * layer_output.shape[-2] == 1:
        raise ValueError(f"filter_layer {name!r} gives a 1 x 1 map with nothing to choose; take an earlier layer")
    if not torch.isfinite(layer_output).all():
        raise ValueError(
            f"the feature map of {name!r} has NaN or infinite values; check the network's weights and the pixel values"
        )
    return LayerMaps(layer_output, num_frames, leading)


def _token_grid(tokens: torch.Tensor, name: str, pixel_values: torch.Tensor, config: L2CafConfig) -> tuple[int, int]:
    """Give rows and columns of a token sequence, named or from the patch size."""
    count, patch = tokens.shape[1], getattr(config.network_config, "patch_size", None)
    if config.token_grid is not None:
        rows, columns = config.token_grid
        if rows * columns > count:
            raise ValueError(
                f"token_grid {rows} x {columns} needs {rows * columns} tokens, but filter_layer {name!r} gives {count}"
            )
        return rows, columns
    if isinstance(patch, int) and (pixel_values.shape[-2] // patch) * (pixel_values.shape[-1] // patch) <= count:
        return pixel_values.shape[-2] // patch, pixel_values.shape[-1] // patch
    raise ValueError(
        f"filter_layer {name!r} gives {count} tokens without a known grid; set token_grid=(rows, columns)"
    )
