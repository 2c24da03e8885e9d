"""What a layer gives, read as feature maps of images or frames: convolution maps, or tokens on a known grid.

Maps may have their channels first (B, C, h, w) or last (B, h, w, C, as in Swin): the grid that has the shape of the
picture tells them apart.
"""

import math
from dataclasses import dataclass, replace

import torch

from ...configuration.configuration_l2_caf import L2CafConfig

# Class, distillation and register tokens before those of the picture.
MOST_LEADING_TOKENS = 8


@dataclass(frozen=True)
class MapGrid:
    """How the output of a layer lies on the picture.

    Attributes:
        rows: cells from top to bottom.
        columns: cells from left to right.
        num_leading: tokens before those of the picture; `None` for maps with four axes.
        channels_last: whether a map with four axes is (B, h, w, C).
    """

    rows: int
    columns: int
    num_leading: int | None = None
    channels_last: bool = False

    @property
    def is_tokens(self) -> bool:
        """Whether the output is a sequence (B, N, C)."""
        return self.num_leading is not None

    def cells(self, output: torch.Tensor) -> torch.Tensor:
        """Give a layer's output, or its gradient, as (B, C, rows, columns)."""
        if self.num_leading is not None:
            return output[:, self.num_leading :].transpose(1, 2).unflatten(2, (self.rows, self.columns))
        return output.movedim(-1, 1) if self.channels_last else output


def find_map_grid(shape: tuple[int, ...], image_size: tuple[int, int]) -> MapGrid | None:
    """Find how an output can lie on a picture, by the aspect of its grid; exact aspects before rounded ones.

    Args:
        shape: (B, C, h, w), (B, h, w, C) or (B, N, C).
        image_size: height and width.

    Returns:
        The grid, of more than one cell; `None` when no reading has the aspect of the picture.
    """
    if len(shape) == 3 and shape[2] > 1:
        grids = [_grid_of_tokens(shape[1], leading, image_size) for leading in range(MOST_LEADING_TOKENS + 1)]
    elif len(shape) == 4:
        grids = [MapGrid(*shape[2:]), MapGrid(*shape[1:3], channels_last=True)]
    else:
        grids = []
    for tolerance in (0, max(image_size)):
        for grid in grids:
            if grid is not None and _has_aspect(grid, image_size, tolerance):
                return grid
    return None


def _grid_of_tokens(count: int, leading: int, image_size: tuple[int, int]) -> MapGrid | None:
    rows = round(math.sqrt(max(count - leading, 0) * image_size[0] / image_size[1]))
    if rows < 1 or (count - leading) % rows:
        return None
    return MapGrid(rows, (count - leading) // rows, num_leading=leading)


def _has_aspect(grid: MapGrid, image_size: tuple[int, int], tolerance: int) -> bool:
    height, width = image_size
    is_within = grid.rows * grid.columns > 1 and grid.rows <= height and grid.columns <= width
    return is_within and abs(grid.rows * width - grid.columns * height) <= tolerance


@dataclass(frozen=True)
class LayerMaps:
    """Feature maps of B images (T = 1) or videos of T frames.

    Attributes:
        tensor: (B * T, C, h, w).
        num_frames: T.
        leading_tokens: (B * T, N, C) tokens before those on the grid (class token), or `None` for convolution maps.
        channels_last: whether the layer gives (B * T, h, w, C).
    """

    tensor: torch.Tensor
    num_frames: int = 1
    leading_tokens: torch.Tensor | None = None
    channels_last: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width (h, w)."""
        return tuple(self.tensor.shape[-2:])

    @property
    def is_plain(self) -> bool:
        """Whether these are maps of images and nothing else."""
        return self.num_frames == 1 and (self.leading_tokens is None or self.leading_tokens.shape[1] == 0)

    def is_constant(self) -> torch.Tensor:
        """Give (B,) whether the map of an image is the same in every cell (of a video: in every frame)."""
        same = (self.tensor == self.tensor[..., :1, :1]).flatten(1).all(1)
        return same.view(-1, self.num_frames).all(1)

    def select(self, images: torch.Tensor) -> "LayerMaps":
        """Copy the maps of the images with these indices, (P,)."""

        def rows(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.unflatten(0, (len(tensor) // self.num_frames, self.num_frames))[images].flatten(0, 1)

        leading = None if self.leading_tokens is None else rows(self.leading_tokens)
        return replace(self, tensor=rows(self.tensor), leading_tokens=leading)

    def filtered(self, filters: torch.Tensor) -> torch.Tensor:
        """Scale all channels by (B, T, h, w) filters and give what the layer would give, in its own form."""
        scaled = self.tensor * filters.flatten(0, 1)[:, None].to(self.tensor.dtype)
        if self.leading_tokens is None:
            return scaled.movedim(1, -1) if self.channels_last else scaled
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
    leading, channels_last = None, False
    if layer_output.dim() == 3:
        grid = _token_grid(layer_output, name, pixel_values, config)
        leading, layer_output = layer_output[:, : grid.num_leading], grid.cells(layer_output).contiguous()
    elif layer_output.dim() == 4:
        grid = _map_grid(tuple(layer_output.shape), pixel_values, config)
        channels_last, layer_output = grid.channels_last, grid.cells(layer_output).contiguous()
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
    return LayerMaps(layer_output, num_frames, leading, channels_last)


def _map_grid(shape: tuple[int, ...], pixel_values: torch.Tensor, config: L2CafConfig) -> MapGrid:
    """Tell where the channels of a map are; a named grid wins, and without any sign they are first."""
    first, last = MapGrid(*shape[2:]), MapGrid(*shape[1:3], channels_last=True)
    if config.token_grid is not None:
        return last if tuple(config.token_grid) == shape[1:3] and tuple(config.token_grid) != shape[2:] else first
    return find_map_grid(shape, tuple(pixel_values.shape[-2:])) or first


def _token_grid(tokens: torch.Tensor, name: str, pixel_values: torch.Tensor, config: L2CafConfig) -> MapGrid:
    """Give the grid of a token sequence, named or from the patch size."""
    count, image_size = tokens.shape[1], tuple(pixel_values.shape[-2:])
    if config.token_grid is not None:
        rows, columns = config.token_grid
        if rows * columns > count:
            raise ValueError(
                f"token_grid {rows} x {columns} needs {rows * columns} tokens, but filter_layer {name!r} gives {count}"
            )
        return MapGrid(rows, columns, count - rows * columns)
    patch = getattr(config.network_config, "patch_size", None)
    if isinstance(patch, int):
        rows, columns = (side // patch for side in image_size)
        if 0 <= count - rows * columns <= MOST_LEADING_TOKENS:
            return MapGrid(rows, columns, count - rows * columns)
    likely = find_map_grid(tuple(tokens.shape), image_size)
    hint = f", here perhaps ({likely.rows}, {likely.columns})" if likely else ""
    raise ValueError(
        f"filter_layer {name!r} gives {count} tokens without a known grid; set token_grid=(rows, columns){hint}"
    )
