"""Pixels and masks of a scene, in whole-number arithmetic so that every platform renders the same ones.

Many frames are drawn at once: the background by a table look-up over (T, H, W), each sprite by one over (T, P, P)
with P the side of the square that it can touch.
"""

from collections.abc import Iterator

import numpy as np

from .embedded_digits import load_handwriting
from .embedded_motions import COSINE, FULL, SINE, SUBPIXELS
from .embedded_scenes import Background, Scene, Sprite

TEXELS = 32
# Ink (0 to 256) that begins to cover, and that covers fully.
_INK_FROM, _INK_FULL = 90, 150
_FRAMES_AT_ONCE = 64


def iterate_rendered(scene: Scene) -> Iterator[np.ndarray]:
    """Draw a scene in pieces of up to 64 frames, uint8 (t, size, size, 3) RGB, so that memory stays small."""
    texture = _make_texture(scene.background, scene.size)
    coverages = [_make_coverage(sprite) for sprite in scene.sprites]
    patch_sides = [_patch_side(sprite) for sprite in scene.sprites]
    margin = max(patch_sides, default=0)
    for start in range(0, scene.num_frames, _FRAMES_AT_ONCE):
        frames = np.arange(start, min(start + _FRAMES_AT_ONCE, scene.num_frames))
        canvas = np.zeros((len(frames), scene.size + 2 * margin, scene.size + 2 * margin, 3), np.uint8)
        inside = slice(margin, margin + scene.size)
        canvas[:, inside, inside] = _draw_background(scene.background, texture, frames)
        pixels = canvas.reshape(-1, 3)
        light = scene.background.light[frames]
        for sprite, coverage, side in zip(scene.sprites, coverages, patch_sides, strict=True):
            covered, rows, columns = _place(sprite, coverage, side, frames, margin, scene.size)
            alpha = covered * sprite.poses.opacity[frames].astype(np.int32)[:, None, None] // FULL
            row_starts = (np.arange(len(frames))[:, None] * canvas.shape[1] + rows) * canvas.shape[2]
            touched = np.flatnonzero(alpha)
            where = (row_starts[:, :, None] + columns[:, None, :]).ravel()[touched]
            alpha = alpha.ravel()[touched, None]
            colour = (_shown_colour(sprite, frames) * light[:, None] // FULL).astype(np.int32)[touched // side**2]
            below = pixels[where].astype(np.int32)
            pixels[where] = below + ((colour - below) * alpha >> 8)
        yield np.ascontiguousarray(canvas[:, inside, inside])


def shown_masks(scene: Scene, frame: int) -> np.ndarray:
    """Which pixels each sprite takes in one frame, were it alone and fully opaque: bool (sprites, size, size)."""
    size = scene.size
    masks = np.zeros((len(scene.sprites), size, size), bool)
    for mask, sprite in zip(masks, scene.sprites, strict=True):
        side = _patch_side(sprite)
        canvas = np.zeros((size + 2 * side, size + 2 * side), bool)
        covered, rows, columns = _place(sprite, _make_coverage(sprite), side, np.array([frame]), side, size)
        canvas[rows[0][:, None], columns[0][None]] = covered[0] >= FULL // 2
        mask[:] = canvas[side : side + size, side : side + size]
    return masks


def visible_masks(scene: Scene, frame: int) -> np.ndarray:
    """`shown_masks` less what later sprites cover, bool (sprites, size, size)."""
    masks = shown_masks(scene, frame)
    covered = np.logical_or.accumulate(masks[::-1])[::-1]
    masks[:-1] &= ~covered[1:]
    return masks


def mask_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The smallest box (left, top, right, bottom) around a non-empty mask; right and bottom are exclusive."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _make_texture(background: Background, size: int) -> np.ndarray:
    """Two octaves of periodic noise, int64 (size, size), 0 to 255."""
    octaves = []
    for grid in (background.coarse, background.fine):
        step = size // len(grid)
        for axis in (0, 1):
            cell, part = np.divmod(np.arange(size), step)
            part = part if axis == 1 else part[:, None]
            following = np.take(grid, (cell + 1) % (size // step), axis)
            grid = (np.take(grid, cell, axis) * (step - part) + following * part) // step
        octaves.append(grid)
    return (2 * octaves[0] + octaves[1]) // 3


def _draw_background(background: Background, texture: np.ndarray, frames: np.ndarray) -> np.ndarray:
    size = len(texture)
    ends = background.colours
    palette = ends[0] + (ends[1] - ends[0]) * np.arange(256)[:, None] // 255
    strength, light = background.tint_strength[frames, None, None], background.light[frames, None, None]
    tinted = (palette * (FULL - strength) + background.tint[frames, None] * strength) // FULL
    palettes = np.zeros((len(frames), 256, 4), np.uint8)
    palettes[..., :3] = tinted * light // FULL
    # One 32-bit look-up a pixel is much faster than three of 8 bits; the view is undone below, in the same byte order.
    packed = palettes.view(np.uint32)[..., 0]
    rows = (np.arange(size) - background.drift[frames, :1]) % size
    columns = (np.arange(size) - background.drift[frames, 1:]) % size
    shade = texture[rows[:, :, None], columns[:, None, :]]
    pixels = np.take_along_axis(packed, shade.reshape(len(frames), -1), axis=1)
    return pixels.view(np.uint8).reshape(len(frames), size, size, 4)[..., :3]


def _shown_colour(sprite: Sprite, frames: np.ndarray) -> np.ndarray:
    if sprite.glow is None:
        return sprite.colour
    glow = sprite.glow[frames, None]
    colour = sprite.glow_colour[frames] if sprite.glow_colour.ndim == 2 else sprite.glow_colour
    return (sprite.colour * (FULL - glow) + colour * glow) // FULL


def _make_coverage(sprite: Sprite) -> np.ndarray:
    """How much the sprite covers, int32 (34, 34), 0 to 256, with an empty rim for what lies outside its square."""
    if sprite.coverage is not None:
        return np.pad(sprite.coverage, 1).astype(np.int32)
    ink = np.zeros((10, 10), np.int64)
    piece = slice(*sprite.rows), slice(*sprite.columns)
    ink[1:9, 1:9][piece] = 16 * load_handwriting()[0][sprite.sample][piece]
    factor = TEXELS // 8
    # Texel centres lie at odd multiples of half a texel; between the ink samples coverage is interpolated.
    position = 2 * np.arange(TEXELS) + 1 + factor
    cell, part = np.divmod(position, 2 * factor)
    for axis in (0, 1):
        weight = part if axis == 1 else part[:, None]
        ink = (np.take(ink, cell, axis) * (2 * factor - weight) + np.take(ink, cell + 1, axis) * weight) // (
            2 * factor
        )
    coverage = np.clip((ink - _INK_FROM) * FULL // (_INK_FULL - _INK_FROM), 0, FULL)
    return np.pad(coverage, 1).astype(np.int32)


def _patch_side(sprite: Sprite) -> int:
    """Side in pixels of a square that holds the sprite at its largest, whatever its angle."""
    return int(sprite.poses.size.max()) * 3 // (2 * SUBPIXELS) + 3


def _place(
    sprite: Sprite, coverage: np.ndarray, side: int, frames: np.ndarray, margin: int, scene_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How much the sprite covers of the pixels around it, int32 (t, side, side), 0 to 256, and the rows and columns of
    these pixels (t, side) on a canvas that is `margin` pixels larger than the picture on every side."""
    poses = sprite.poses
    x, y = (np.clip(centre[frames], 0, scene_size * SUBPIXELS - 1).astype(np.int32) for centre in (poses.x, poses.y))
    reciprocal = ((TEXELS << 16) // poses.size[frames]).astype(np.int32)[:, None, None]
    sine, cosine = (
        table[poses.angle[frames] % len(table)].astype(np.int32)[:, None, None] for table in (SINE, COSINE)
    )
    offsets = np.arange(side, dtype=np.int32)
    columns = (x // SUBPIXELS)[:, None] - side // 2 + offsets
    rows = (y // SUBPIXELS)[:, None] - side // 2 + offsets
    right = (columns * SUBPIXELS + SUBPIXELS // 2 - x[:, None])[:, None, :]
    down = (rows * SUBPIXELS + SUBPIXELS // 2 - y[:, None])[:, :, None]
    across = ((right * cosine + down * sine >> 10) * reciprocal >> 16) + TEXELS // 2
    along = ((down * cosine - right * sine >> 10) * reciprocal >> 16) + TEXELS // 2
    texels = np.clip(along, -1, TEXELS) * (TEXELS + 2) + np.clip(across, -1, TEXELS) + TEXELS + 3
    return np.take(coverage, texels), rows + margin, columns + margin
