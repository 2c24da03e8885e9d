"""Published weights of plain vision transformers, whatever their layout, for `VisionTransformer`."""

import re

# (pattern, replacement) from the names of timm, DeiT and MAE to those of `modeling/backbones/vit.py`.
_RENAMING = (
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.(weight|bias)$", r"embeddings.patch_embeddings.\1"),
    (r"^blocks\.(\d+)\.norm1\.", r"blocks.\1.attention_norm."),
    (r"^blocks\.(\d+)\.norm2\.", r"blocks.\1.mlp_norm."),
    (r"^blocks\.(\d+)\.attn\.qkv\.", r"blocks.\1.attention.qkv."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"blocks.\1.attention.output."),
    (r"^blocks\.(\d+)\.mlp\.fc1\.", r"blocks.\1.mlp.0."),
    (r"^blocks\.(\d+)\.mlp\.fc2\.", r"blocks.\1.mlp.2."),
)


def rename_timm_key(key: str) -> str:
    """Give our name of a weight that timm, DeiT and MAE call `key`; a name of none of theirs stays."""
    for pattern, replacement in _RENAMING:
        renamed, count = re.subn(pattern, replacement, key)
        if count:
            return renamed
    return key
