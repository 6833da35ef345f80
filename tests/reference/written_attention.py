"""Attention of all places of a map, in the ways in which people write it."""

import torch
import torch.nn.functional as F
from torch import nn


class Mixed(nn.Module):
    """x + mix(x) on a map, behind a stem, twice."""

    def __init__(self, *mixers):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 2, stride=2)
        self.mixers = nn.ModuleList(mixers)
        self.head = nn.Linear(8, 4)

    def forward(self, images):
        x = self.stem(images)
        for mixer in self.mixers:
            x = x + mixer(x)
        return self.head(x.mean((2, 3)))


class OnTokens(nn.Module):
    """Attention of all places, in one of several ways to write it."""

    def __init__(self, form):
        super().__init__()
        self.form = form
        self.qkv = nn.Linear(8, 24)
        self.talk = nn.Linear(2, 2)
        self.module = nn.MultiheadAttention(8, 2, batch_first=form == "module")

    def forward(self, x):
        batch, _, height, width = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        return self.mixed(tokens).transpose(1, 2).reshape(batch, -1, height, width)

    def mixed(self, tokens):
        batch, count, _ = tokens.shape
        if self.form == "module":
            return self.module(tokens, tokens, tokens, need_weights=False)[0]
        if self.form == "module with weights":
            one = tokens.transpose(0, 1)
            output, weights = self.module(one, one, one)
            assert weights.shape == (batch, count, count)
            return output.transpose(0, 1)
        q, k, v = self.qkv(tokens).reshape(batch, count, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        if self.form == "merged":
            q, k, v = (one.flatten(0, 1) for one in (q, k, v))
            y = torch.bmm(F.softmax(torch.bmm(q, k.mT) * 0.5, dim=2), v).reshape(batch, 2, count, 4)
        else:
            y = WRITTEN[self.form](self, q, k, v)
        return y.transpose(1, 2).reshape(batch, count, 8)

    def talking(self, q, k, v):
        scores = self.talk((q @ k.mT).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.talk(scores.softmax(-1).permute(0, 2, 3, 1)).permute(0, 3, 1, 2) @ v

    def gated(self, q, k, v):
        gate = self.talk.bias.sigmoid().reshape(2, 1, 1)
        return (gate * (q @ k.mT).softmax(-1) + (1 - gate) / k.shape[-2]) @ v


def rolled(count):
    return torch.eye(count, dtype=torch.bool).roll(1, 0)


WRITTEN = {
    "fused": lambda self, q, k, v: F.scaled_dot_product_attention(q, k, v),
    "causal": lambda self, q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3),
    "masked": lambda self, q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=rolled(k.shape[-2])),
    "grouped": lambda self, q, k, v: F.scaled_dot_product_attention(q, k[:, :1], v[:, :1], enable_gqa=True),
    "talking": OnTokens.talking,
    "gated": OnTokens.gated,
    "channels": lambda self, q, k, v: v @ (q.mT @ k).softmax(-1),
    "linear": lambda self, q, k, v: q @ (k.softmax(-2).mT @ v),
    "over queries": lambda self, q, k, v: (q @ k.mT).softmax(-2) @ v,
}

FORMS = ("fused", "causal", "masked", "grouped", "talking", "merged", "module", "module with weights")
"""Those that can be read."""
