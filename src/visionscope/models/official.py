"""Names of the official code's checkpoints (xxxnell/how-do-vits-work), translated to those of timm's classes.

The layouts are recognised by their names: ResNet, pre-activation ResNet, ViT, PiT and ConvViT (`convit` there). The
official AlterNet is read by its own module. The Mixer's is that of the code since it has skip connections; the files of
its first form, which had none, describe another function and are not translated. Google's own Mixer files (`.npz`) have
the names of JAX. Of the released files, which have the names of timm 0.5.4, PiT's is
translated here, ViT's has the names of today, and timm's own filter reads Swin's.

Where timm's class has parameters that the official one lacks they get the
value that changes nothing, and where it lacks some the others take them over, so that the logits are the official ones:
PiT's queries, keys and values get biases of zero, and its class token the position embedding of its place. What no
file holds, the epsilon of the layer normalisations, is set beside (`settle`): at initial weights it moves a logit by
up to 6e-4.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import Tensor, nn

State = dict[str, Tensor]
_Rules = Iterable[tuple[str, str]]

LAYER_NORM_EPS = 1e-5
"""torch's default, which the official transformers have; timm's have 1e-6."""

_SETTLED = "_layer_norm_eps_of_its_file"

_RESNET = (
    (r"^layer0\.0\.", "conv1."),
    (r"^layer0\.1\.", "bn1."),
    (r"\.shortcut\.", ".downsample."),
    (r"\.conv(\d)\.0\.", r".conv\1."),
    (r"\.conv(\d)\.1\.", r".bn\1."),
    (r"^classifier\.0\.dense\.", "fc."),
)
_PRERESNET = (
    (r"^layer0\.(layer0\.)?0\.", "stem.conv."),
    (r"^layer1\.", "stages.0.blocks."),
    (r"^layer2\.", "stages.1.blocks."),
    (r"^layer3\.", "stages.2.blocks."),
    (r"^layer4\.", "stages.3.blocks."),
    (r"\.bn\.", ".norm1."),
    (r"\.shortcut\.0\.", ".downsample.conv."),
    (r"\.conv(\d)\.0\.", r".norm\1."),
    (r"\.conv(\d)\.2\.", r".conv\1."),
    (r"^classifier\.0\.norm1\.", "norm."),
    (r"^classifier\.0\.dense\.", "head.fc."),
)
_ALTERNET = (
    *_PRERESNET,
    (r"\.attn\.attn\.to_out\.0\.", ".attn.proj."),
    (r"\.attn\.attn\.to_q\.", ".attn.qkv."),
    (r"\.attn\.pos_embedding$", ".attn.relative_position_bias_table"),
)
_BLOCK = (
    (r"\.attn\.to_qkv\.", ".attn.qkv."),
    (r"\.attn\.to_out\.0\.", ".attn.proj."),
    (r"\.ff\.net\.0\.", ".mlp.fc1."),
    (r"\.ff\.net\.3\.", ".mlp.fc2."),
)
_VIT = (
    *_BLOCK,
    (r"^embedding\.0\.patch_embedding\.1\.", "patch_embed.proj."),
    (r"^embedding\.1\.cls_token$", "cls_token"),
    (r"^embedding\.2\.pos_embedding$", "pos_embed"),
    (r"^transformers\.", "blocks."),
    (r"^classifier\.1\.", "norm."),
    (r"^classifier\.2\.", "head."),
)
_PIT = (
    *_BLOCK,
    (r"^embedding\.0\.patch_embedding\.2\.", "patch_embed.conv."),
    (r"^embedding\.1\.cls_token$", "cls_token"),
    (r"^embedding\.2\.pos_embedding$", "pos_embed"),
    (r"\.cls_ff\.", ".pool.fc."),
    (r"\.downsample\.net\.0\.", ".pool.conv."),
    (r"^classifier\.1\.", "norm."),
    (r"^classifier\.2\.", "head."),
)
_MIXER = (
    (r"^embedding\.0\.patch_embedding\.1\.", "stem.proj."),
    (r"^mlps\.(\d+)\.norm", r"blocks.\1.norm"),
    (r"^mlps\.(\d+)\.ff1\.net\.0\.", r"blocks.\1.mlp_tokens.fc1."),
    (r"^mlps\.(\d+)\.ff1\.net\.3\.", r"blocks.\1.mlp_tokens.fc2."),
    (r"^mlps\.(\d+)\.ff2\.net\.0\.", r"blocks.\1.mlp_channels.fc1."),
    (r"^mlps\.(\d+)\.ff2\.net\.3\.", r"blocks.\1.mlp_channels.fc2."),
    (r"^classifier\.0\.", "norm."),
    (r"^classifier\.2\.", "head."),
)
_MIXER_OF_JAX = (
    (r"/", "."),
    (r"^MixerBlock_(\d+)\.LayerNorm_0\.", r"blocks.\1.norm1."),
    (r"^MixerBlock_(\d+)\.LayerNorm_1\.", r"blocks.\1.norm2."),
    (r"^MixerBlock_(\d+)\.token_mixing\.Dense_0\.", r"blocks.\1.mlp_tokens.fc1."),
    (r"^MixerBlock_(\d+)\.token_mixing\.Dense_1\.", r"blocks.\1.mlp_tokens.fc2."),
    (r"^MixerBlock_(\d+)\.channel_mixing\.Dense_0\.", r"blocks.\1.mlp_channels.fc1."),
    (r"^MixerBlock_(\d+)\.channel_mixing\.Dense_1\.", r"blocks.\1.mlp_channels.fc2."),
    (r"^pre_head_layer_norm\.", "norm."),
    (r"^stem\.", "stem.proj."),
    (r"\.(kernel|scale)$", ".weight"),
)
_CONVVIT = (
    *_BLOCK,
    (r"^embedding\.0\.", "patch_embed.proj."),
    (r"^embedding\.2\.pos_embedding$", "pos_embed"),
    (r"^transformers\.", "blocks."),
    (r"\.norm(\d)\.1\.", r".norm\1."),
    (r"^classifier\.2\.", "fc_norm."),
    (r"^classifier\.3\.", "head."),
)


def translate(state: State) -> State:
    """The official code's checkpoint under the names of timm's classes and AlterNet's; any other comes back as it is.

    Args:
        state: tensors by the names of the file.
    """
    if "layer0.layer0.0.weight" in state:
        return _alternet(state)
    if "layer0.0.weight" in state and "classifier.0.dense.weight" in state:
        return _resnet(state) if "layer0.1.weight" in state else _preresnet(state)
    if "mlps.0.ff1.net.0.weight" in state:
        return _mixer(state)
    if "MixerBlock_0/token_mixing/Dense_0/kernel" in state:
        return _mixer_of_jax(state)
    if "embedding.0.patch_embedding.1.weight" in state:
        return _vit(state)
    if "embedding.0.patch_embedding.2.weight" in state:
        return _pit(state)
    if "transformers.0.attn.to_kv.weight" in state:
        return _convvit(state)
    if "transformers.0.pool.conv.weight" in state:
        return _pit_of_timm_0_5_4(state)
    return state


def layer_norm_eps(state: State) -> float | None:
    """The epsilon of a checkpoint's layer normalisations where it is another than timm's 1e-6, else None.

    Args:
        state: tensors by the names of the file.
    """
    marks = ("transformers.0.attn.to_out.0.weight", "mlps.0.ff1.net.0.weight")
    return LAYER_NORM_EPS if any(mark in state for mark in marks) else None


def settle(model: nn.Module, epsilon: float | None) -> None:
    """Gives a model what belongs to a checkpoint and is no tensor: the epsilon of its layer normalisations.

    Args:
        model: is changed in place, and remembers it, so that `settled` finds it when the model is saved.
        epsilon: None leaves the model's own.
    """
    if epsilon is None:
        return
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = epsilon
    setattr(model, _SETTLED, epsilon)


def settled(model: nn.Module) -> float | None:
    """The epsilon that `settle` gave to a model, or None.

    Args:
        model: any.
    """
    return getattr(model, _SETTLED, None)


def _renamed(state: State, rules: _Rules) -> State:
    renamed = {}
    for name, value in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


def _resnet(state: State) -> State:
    return _renamed(state, _RESNET)


def _preresnet(state: State) -> State:
    changed = _renamed(state, _PRERESNET)
    changed["head.fc.weight"] = changed["head.fc.weight"][:, :, None, None]  # timm's classifier is a 1x1 convolution
    return changed


def _alternet(state: State) -> State:
    """There queries have a map of their own, the attention's 1x1 maps are convolutions, and its table is a square."""
    changed = {}
    for name, value in state.items():
        if name.endswith(".to_kv.weight"):
            continue
        if name.endswith(".to_q.weight"):
            value = torch.cat([value, state[name.replace(".to_q.", ".to_kv.")]])
        if ".attn.attn." in name and value.ndim == 4:
            value = value[:, :, 0, 0]
        changed[name] = value.reshape(-1, 1) if name.endswith(".pos_embedding") else value
    return _renamed(changed, _ALTERNET)


def _vit(state: State) -> State:
    changed = _renamed(state, _VIT)
    changed["patch_embed.proj.weight"] = _of_pixels(changed["patch_embed.proj.weight"])
    return changed


def _of_pixels(weight: Tensor) -> Tensor:
    """A convolution's filters out of a linear layer over a patch's pixels in the order row, column, colour."""
    edge = round((weight.shape[1] / 3) ** 0.5)
    return weight.reshape(-1, edge, edge, 3).permute(0, 3, 1, 2)


def _mixer(state: State) -> State:
    changed = _renamed(state, _MIXER)
    changed["stem.proj.weight"] = _of_pixels(changed["stem.proj.weight"])
    # Across tokens a 1x1 convolution there, a linear layer here.
    return {name: value[:, :, 0] if value.ndim == 3 else value for name, value in changed.items()}


def _mixer_of_jax(state: State) -> State:
    """Kernels are (in, out) there, and (height, width, in, out) of the patch embedding."""
    changed = _renamed(state, _MIXER_OF_JAX)
    axes = {2: (1, 0), 4: (3, 2, 0, 1)}
    return {name: value.permute(axes[value.ndim]) if value.ndim in axes else value for name, value in changed.items()}


def _pit(state: State) -> State:
    changed: State = {}
    stage, block = 0, 0
    places: dict[str, str] = {}  # the official blocks and poolings are counted through
    for name in state:
        number = name.split(".")[1] if name.startswith("transformers.") else None
        if number is None or number in places:
            continue
        if f"transformers.{number}.cls_ff.weight" in state:
            stage, block = stage + 1, 0
            places[number] = f"transformers.{stage}."
        else:
            places[number] = f"transformers.{stage}.blocks.{block}."
            block += 1
    for name, value in state.items():
        parts = name.split(".", 2)
        changed[places[parts[1]] + parts[2] if parts[0] == "transformers" else name] = value
    changed = _renamed(changed, _PIT)
    for name in [name for name in changed if name.endswith(".qkv.weight")]:
        changed[name.replace(".weight", ".bias")] = torch.zeros(changed[name].shape[0])
    weight, embedding = changed["patch_embed.conv.weight"], changed["pos_embed"]
    edge, grid = round((weight.shape[1] / 3) ** 0.5), round((embedding.shape[1] - 1) ** 0.5)
    changed["patch_embed.conv.weight"] = weight.reshape(-1, 3, edge, edge)  # in the order of torch's unfold
    changed["cls_token"] = changed["cls_token"] + embedding[:, :1]
    changed["pos_embed"] = embedding[:, 1:].transpose(1, 2).reshape(1, -1, grid, grid)
    return changed


def _pit_of_timm_0_5_4(state: State) -> State:
    """A pooling was the end of the stage before it, and is now the beginning of the one after it."""
    return {re.sub(r"(\d+)(?=\.pool\.)", lambda found: str(int(found[1]) + 1), name): v for name, v in state.items()}


def _convvit(state: State) -> State:
    joined = {
        name.replace(".to_q.", ".to_qkv."): torch.cat([value, state[name.replace(".to_q.", ".to_kv.")]])
        if ".to_q." in name
        else value
        for name, value in state.items()
        if ".to_kv." not in name
    }
    changed = _renamed(joined, _CONVVIT)
    for name, value in changed.items():
        if name.startswith("blocks.") and value.ndim == 4:  # a 1x1 convolution there, a linear layer here
            changed[name] = value.flatten(1)
    return changed
