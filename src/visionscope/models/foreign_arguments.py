"""What a file of weights may ask of a network's constructor: nothing that opens another file, fetches, or runs code."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from visionscope.core.printable import printable, quoted
from visionscope.errors import ConfigError
from visionscope.models.arguments import check_numbers
from visionscope.models.literals import check_value
from visionscope.models.spec import LOADING

# Of timm's, torchvision's, transformers' and our own constructors.
_WORDS = (
    *(
        "act_layer",
        "norm_layer",
        "norm_layer_cl",
        "dw_act_layer",
        "fc_act_layer",
        "attn_layer",
        "mlp_layer",
        "aa_layer",
    ),
    *("hidden_act", "global_pool", "pool_type", "pool", "classifier", "class_token", "head", "head_fn", "weight_init"),
    *("pos_embed", "rel_pos_type", "rope_type", "rope_grid_indexing", "pad_type", "stem", "stem_type", "down_op"),
    *("downsample", "attn_stage", "attn_type", "attn_upsample", "spatial_conv", "local_mbconv_norm", "encoder_pool"),
    *("feature_location", "kernel_size", "union", "embed_layer", "embed_norm_layer", "block_fn", "block_layer"),
)
_FLAGS = (
    *("distilled", "distillation", "qkv_bias", "qkv_fused", "qk_norm", "proj_bias", "mlp_bias", "head_bias", "bias"),
    *("conv_bias", "stem_bias", "class_token", "no_embed_class", "reg_tokens", "pre_norm", "final_norm", "fc_norm"),
    *("use_fc_norm", "patch_norm", "head_norm", "head_norm_first", "stem_norm", "dynamic_img_size", "dynamic_img_pad"),
    *("strict_img_size", "always_partition", "bottleneck", "per_head_bias", "zero_padded_borders", "zero_init_last"),
    *("zero_init_residual", "use_abs_pos", "use_abs_pos_emb", "use_rel_pos", "use_rel_pos_bias", "use_layer_scale"),
    *("use_shared_rel_pos_bias", "use_rot_pos_emb", "use_rope", "use_pos_embed", "use_mean_pooling", "conv_mlp"),
    *("swiglu_mlp", "scale_mlp", "use_grn", "use_conv", "use_post_norm", "use_mlp_head", "avg_down", "preact", "basic"),
    *("conv_init", "replace_stem_pool", "aux_logits", "fix_stem", "legacy", "with_fc", "transformer_drop_path", "v2"),
)
_WORD = re.compile(r"[A-Za-z0-9_]{1,40}")


def check_foreign(path: Path, arguments: Mapping[str, Any], words: Collection[str] = ()) -> None:
    """Refuses arguments in a file's metadata that are not known to be harmless.

    A file comes from anywhere, and some arguments make a constructor read another file, even a pickle with code in it
    (timm's `checkpoint_path`), or fetch weights. So a file may set:

    - numbers, None, and tuples, lists and dictionaries of them, under any name that is none of `spec.LOADING`: a number
      names neither a file nor an address;
    - True and False, and strings of letters, digits and underscores, under names that are known to say what a network
      is made of (`qkv_bias`, `act_layer`, ...). A flag of another name may mean `download=True`.

    What else a network needs its user says in the spec, which comes before the file's metadata.

    Args:
        path: of the file.
        arguments: that its metadata say and the spec doesn't.
        words: names of further arguments that are words, of a constructor that looks them up among those it knows.

    Raises:
        ConfigError: naming the argument and how to give it oneself.
    """
    for key, value in arguments.items():
        check_value(f"checkpoint {path}: in its metadata {quoted(key)}", value)
        known = key in words and isinstance(value, str) and bool(_WORD.fullmatch(value))
        if not key.isidentifier() or key in LOADING or not (known or _is_harmless(key, value)):
            remedy = (
                ""
                if key in LOADING
                else f"; where you trust it, give it yourself: MODEL?{printable(key)[:40]}=...@FILE"
            )
            raise ConfigError(
                f"checkpoint {path}: its metadata ask for {printable(key)[:40]}={quoted(value)}, which a file may not "
                f"set{remedy}"
            )
    check_numbers(f"checkpoint {path}: in its metadata", arguments)


def _is_harmless(key: str, value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_harmless(key, inner) for inner in value)
    if isinstance(value, dict):
        return all(isinstance(name, str) and name not in LOADING and _is_harmless(name, value[name]) for name in value)
    if isinstance(value, bool):
        return key in _FLAGS
    if isinstance(value, str):
        return key in _WORDS and bool(_WORD.fullmatch(value))
    return value is None or isinstance(value, (int, float))
