"""Dense optical flow between the frames of a snippet, as pictures for a network.

The flow is OpenCV's DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016). Clipping to 20
pixels and scaling to [-1, 1] is how two-stream networks of the I3D family take flow (Carreira and Zisserman, CVPR
2017); the third channel, the magnitude, makes it a picture for networks with three input channels.
"""

from collections.abc import Sequence

import numpy as np

from ...optional_packages import require

MIN_SIDE = 12


def flow_pictures(frames: np.ndarray, positions: Sequence[int], bound: float) -> np.ndarray:
    """Compute the flow at chosen frames of one snippet.

    The flow at frame t is the motion from frame t to frame t + 1; the last frame has that of the one before it, and a
    lone frame has none.

    Args:
        frames: uint8 (T, H, W, 3) RGB.
        positions: frames 0 .. T - 1 whose flow is wanted, repeated where wanted.
        bound: pixels per frame that become 1; longer motion is clipped.

    Returns:
        float32 (len(positions), H, W, 3): horizontal and vertical motion in [-1, 1], magnitude in [0, 1].

    Raises:
        ValueError: when both sides are under 12 pixels, which is too small for the flow.
    """
    height, width = frames.shape[1:3]
    if max(height, width) < MIN_SIDE:
        raise ValueError(f"optical flow needs pictures of at least {MIN_SIDE} pixels, got {width}x{height}")
    if len(frames) == 1:
        return np.zeros((len(positions), height, width, 3), np.float32)
    starts = [min(position, len(frames) - 2) for position in positions]
    motion = _dense_flow(frames, sorted(set(starts)))
    flow = np.stack([motion[start] for start in starts]) / np.float32(bound)
    magnitude = np.linalg.norm(flow, axis=-1, keepdims=True)
    return np.concatenate([flow.clip(-1, 1), magnitude.clip(0, 1)], axis=-1)


def _dense_flow(frames: np.ndarray, starts: Sequence[int]) -> dict[int, np.ndarray]:
    """Flow (H, W, 2) in pixels from each frame of `starts` to the next one."""
    cv2 = require("cv2", "optical flow")
    grey = {index: cv2.cvtColor(frames[index], cv2.COLOR_RGB2GRAY) for start in starts for index in (start, start + 1)}
    # The search may run in stripes, one a thread; with one thread the flow cannot depend on the machine's cores, and
    # several extracting processes do not compete.
    num_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        return {start: method.calc(grey[start], grey[start + 1], None) for start in starts}
    finally:
        cv2.setNumThreads(num_threads)
