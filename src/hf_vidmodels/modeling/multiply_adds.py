"""How many multiply-adds a classifier spends on one clip, in closed form.

Counted are matrix products, attention products and convolutions, in evaluation mode and with the scorers, as the
authors of STTS count what they call FLOPs; norms, activations and poolings without weights are left out. One
multiply-add is two operations of `torch.utils.flop_counter`. Of an MViT our network computes 5 to 7 % less: no key and
value of a token that pooling jumps over, and in the last block none of what the class token does not need.
"""

from math import prod

from ..configuration.configuration_backbones import Grid, MvitBlockPlan, MvitConfig, VideoSwinConfig
from ..configuration.configuration_stts import SelectorPlan, SttsConfig
from .layers.shifted_windows import fit_window


def multiply_adds(config: SttsConfig) -> dict[str, int]:
    """Count the multiply-adds of one clip.

    Args:
        config: the model's configuration.

    Returns:
        Counts by part: `embedding`, `blocks` (everything between embedding and classifier), `selection` (scorers),
        `classifier` and their sum `total`.
    """
    backbone = config.backbone_config
    plans: dict[int, list[SelectorPlan]] = {}
    for plan in config.selector_plans():
        plans.setdefault(plan.layer, []).append(plan)
    is_mvit = isinstance(backbone, MvitConfig)
    patch = prod(backbone.patch_size) * backbone.num_channels
    width = backbone.block_plans()[-1].output_width if is_mvit else backbone.stage_widths[-1]
    first_width = backbone.block_plans()[0].width if is_mvit else backbone.hidden_size
    counts = {
        "embedding": prod(backbone.patch_grid) * patch * first_width,
        "blocks": _mvit_blocks(backbone, plans) if is_mvit else _swin_stages(backbone, plans),
        "selection": 0,
        "classifier": width * config.num_labels,
    }
    if config.selection_mode == "learned":
        counts["selection"] = sum(_scorer(plan) for layer in plans.values() for plan in layer)
    return {**counts, "total": sum(counts.values())}


def _mvit_blocks(config: MvitConfig, plans: dict[int, list[SelectorPlan]]) -> int:
    total, grid = 0, config.patch_grid
    for layer, block in enumerate(config.block_plans()):
        grid = _grid_after(plans.get(layer, ()), grid)
        total += _mvit_block(config, block, grid)
        grid = block.output_grid(grid)
    return total


def _mvit_block(config: MvitConfig, block: MvitBlockPlan, grid: Grid) -> int:
    width, output_width = block.width, block.output_width
    pooled_grid = grid if block.key_value_pooling is None else block.key_value_pooling.output_grid(grid)
    queries = prod(block.output_grid(grid)) + config.use_cls_token
    keys = prod(pooled_grid) + config.use_cls_token
    count = 3 * (prod(grid) + config.use_cls_token) * width**2
    if config.pool_mode == "conv":
        for pooling, times in ((block.query_pooling, 1), (block.key_value_pooling, 2)):
            if pooling is not None:
                count += times * prod(pooling.kernel) * width * prod(pooling.output_grid(grid))
    count += 2 * queries * keys * width + queries * width**2
    count += queries * int(width * config.mlp_ratio) * (width + output_width)
    return count + (queries * width * output_width if output_width != width else 0)


def _swin_stages(config: VideoSwinConfig, plans: dict[int, list[SelectorPlan]]) -> int:
    total, grid = 0, config.patch_grid
    for stage, (width, depth) in enumerate(zip(config.stage_widths, config.depths, strict=True)):
        grid = _grid_after(plans.get(stage, ()), grid)
        window, _ = fit_window(grid, config.window_size, is_shifted=False)
        # Attention runs on windows, padding included.
        padded = prod(-(-side // size) * size for side, size in zip(grid, window, strict=True))
        attention = 4 * padded * width**2 + 2 * padded * prod(window) * width
        mlp = 2 * prod(grid) * width * int(width * config.mlp_ratio)
        total += depth * (attention + mlp)
        if stage + 1 < len(config.depths):
            grid = (grid[0], (grid[1] + 1) // 2, (grid[2] + 1) // 2)
            total += prod(grid) * 8 * width**2
    return total


def _grid_after(plans: list[SelectorPlan] | tuple[()], grid: Grid) -> Grid:
    return plans[-1].output_grid if plans else grid


def _scorer(plan: SelectorPlan) -> int:
    width = 2 * plan.width if plan.kind == "temporal" else plan.width
    tokens = plan.grid[0] if plan.kind == "temporal" else prod(plan.grid)
    return tokens * (width**2 + width * (width // 2) + (width // 2) * (width // 4) + width // 4)
