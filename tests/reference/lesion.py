"""Networks with one unit left out, written as plain formulas over their weights in float64: slow, independent."""

import torch
import torch.nn.functional as F


def vit_logits(model, images, without=()):
    """A timm ViT with class token: branches such as `blocks.1.msa` named in `without` are never computed."""
    weights = {name: value.double() for name, value in model.state_dict().items()}
    heads = model.blocks[0].attn.num_heads
    x = F.conv2d(
        images.double(), weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=_patch(model)
    )
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([weights["cls_token"].expand(len(x), -1, -1), x], 1) + weights["pos_embed"]
    for number in range(len(model.blocks)):
        own = {
            name.removeprefix(f"blocks.{number}."): value
            for name, value in weights.items()
            if name.startswith(f"blocks.{number}.")
        }
        if f"blocks.{number}.msa" not in without:
            x = x + own.get("ls1.gamma", 1.0) * _attention(_norm(x, own, "norm1"), own, heads)
        if f"blocks.{number}.mlp" not in without:
            hidden = F.gelu(_linear(_norm(x, own, "norm2"), own, "mlp.fc1"))
            x = x + own.get("ls2.gamma", 1.0) * _linear(hidden, own, "mlp.fc2")
    return _linear(_norm(x, weights, "norm")[:, 0], weights, "head")


def resnet_20_logits(model, images, without=()):
    """ResNet-20: a block such as `layer2.0` named in `without` gives ReLU(shortcut), a convolution its input."""
    weights = {name: value.double() for name, value in model.state_dict().items()}
    x = F.relu(_batch_norm(F.conv2d(images.double(), weights["conv1.weight"], padding=1), weights, "bn1"))
    for stage in (1, 2, 3):
        for number in range(3):
            block = f"layer{stage}.{number}"
            stride = 2 if stage > 1 and number == 0 else 1
            channels = 8 * 2**stage
            shortcut = _padded(x[:, :, ::stride, ::stride], channels)
            if block in without:
                x = F.relu(shortcut)
                continue
            y = shortcut if f"{block}.conv1" in without else _conv(x, weights, f"{block}.conv1", stride)
            y = F.relu(_batch_norm(y, weights, f"{block}.bn1"))
            y = y if f"{block}.conv2" in without else _conv(y, weights, f"{block}.conv2", 1)
            x = F.relu(_batch_norm(y, weights, f"{block}.bn2") + shortcut)
    return _linear(x.mean((2, 3)), weights, "linear")


def _patch(model):
    return tuple(model.patch_embed.proj.kernel_size)


def _linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _norm(x, weights, name):
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _attention(x, weights, heads):
    q, k, v = _linear(x, weights, "attn.qkv").chunk(3, -1)
    width = q.shape[-1] // heads
    mixed = []
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        scores = q[..., own] @ k[..., own].transpose(1, 2) / width**0.5
        mixed.append(scores.softmax(-1) @ v[..., own])
    return _linear(torch.cat(mixed, -1), weights, "attn.proj")


def _conv(x, weights, name, stride):
    return F.conv2d(x, weights[f"{name}.weight"], stride=stride, padding=1)


def _batch_norm(x, weights, name):
    mean, variance, weight, bias = (
        weights[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (variance + 1e-5).sqrt() * weight + bias


def _padded(x, channels):
    around = (channels - x.shape[1]) // 2
    empty = x.new_zeros(len(x), around, *x.shape[2:])
    return torch.cat([empty, x, empty], 1)
