"""Classifiers of transformers: class token (CLS), mean (GAP), maximum (GMP) or attention (MAP) over the tokens.

timm's VisionTransformer has all four; its PiT, Swin and MLP-Mixer have one or two and get the others here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from timm.layers.attention_pool import AttentionPoolLatent
from timm.models import MlpMixer, PoolingVisionTransformer, SwinTransformer
from timm.models._features import feature_take_indices
from timm.models.vision_transformer import global_pool_nlc
from torch import Tensor, nn

from visionscope.errors import ConfigError, nearest

CLASSIFIERS = {"cls": "token", "gap": "avg", "gmp": "max", "map": "map"}
"""timm's name of the pooling of each classifier."""

_NO_CLASS_TOKEN = ("gap", "gmp", "map")


def pooling_of(
    model: str,
    classifier: str | None,
    global_pool: str | None = None,
    *,
    default: str,
    choices: Sequence[str] = tuple(CLASSIFIERS),
    more: Sequence[str] = ("", "avgmax"),
) -> str:
    """Timm's name for the pooling that a model shall have: `token`, `avg`, `max`, `map`, or another of timm's own.

    Args:
        model: named in errors.
        classifier: "cls", "gap", "gmp" or "map"; None leaves it to `global_pool`.
        global_pool: timm's name for it, or "" for none; None leaves it to `classifier`.
        default: the classifier where both are None.
        choices: the classifiers that the model can have.
        more: timm's poolings that it can have besides.

    Raises:
        ConfigError: for any other classifier or pooling, or where the two contradict each other.
    """
    if classifier is None and global_pool is not None:
        poolings = [*(CLASSIFIERS[word] for word in choices), *more]
        if global_pool not in poolings:
            words = ", ".join(word or "'' (none)" for word in poolings)
            reason = " It has no class token." if global_pool == "token" else ""
            raise ConfigError(f"{model}: global_pool must be one of {words}; got {global_pool!r}.{reason}")
        return global_pool
    classifier = default if classifier is None else classifier
    if classifier not in choices:
        reason = " It has no class token." if classifier == "cls" else nearest(str(classifier), choices)
        raise ConfigError(f"{model}: classifier must be one of {', '.join(choices)}; got {classifier!r}.{reason}")
    pooling = CLASSIFIERS[classifier]
    if global_pool not in (None, pooling):
        raise ConfigError(
            f"{model}: classifier={classifier} means global_pool={pooling}; got {global_pool!r} beside it"
        )
    return pooling


def vision_transformer_arguments(model: str, arguments: Mapping[str, Any], *, default: str) -> dict[str, Any]:
    """Arguments of timm's VisionTransformer, with `classifier` turned into `global_pool` and `class_token`.

    GAP, GMP and MAP leave the class token out, since it would only be one more token that the others look at.

    Args:
        model: named in errors.
        arguments: as for timm's class, with or without `classifier`.
        default: the classifier where neither it nor `global_pool` is given.

    Raises:
        ConfigError: for an unknown classifier, or one that contradicts `global_pool`.
    """
    changed = dict(arguments)
    pooling = pooling_of(
        model,
        changed.pop("classifier", None),
        changed.pop("global_pool", None),
        default=default,
        more=("", "avgmax", "prr"),
    )
    return {"class_token": pooling == "token", **changed, "global_pool": pooling}


class AttentionPool(AttentionPoolLatent):
    """Multi-head attention pooling over a map (b, h, w, c) or tokens (b, n, c) with one learned query, to (b, c).

    timm's, as its VisionTransformer has it: the query's answer, then an MLP beside it (Zhai et al. 2022, section 3.1).
    """

    pool_type = "map"

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Maps (b, h, w, c) or (b, n, c) to (b, c)."""
        pooled: Tensor = super().forward(x.flatten(1, -2), attn_mask)
        return pooled

    def feat_mult(self) -> int:
        """Channels that leave over channels that come, as timm asks of its poolings."""
        return 1


def _attention_pool(dim: int, num_heads: int) -> AttentionPool:
    norm_layer: Any = partial(nn.LayerNorm, eps=1e-6)
    return AttentionPool(dim, num_heads=num_heads, norm_layer=norm_layer)


def _set_pooling(model: Any, pooling: str, num_heads: int) -> None:
    # For networks that pool tokens by global_pool_nlc, or by attn_pool where there is one.
    if pooling != "map":
        model.attn_pool = None
    elif model.attn_pool is None:
        model.attn_pool = _attention_pool(model.embed_dim, num_heads).to(next(model.parameters())).train(model.training)
    model.global_pool = pooling


class PooledSwin(SwinTransformer):
    """timm's Swin with a classifier GAP, GMP or MAP.

    Args:
        classifier: "gap", "gmp" or "map".
        global_pool: timm's name for it.
        kwargs: as for timm's `SwinTransformer`.

    Raises:
        ConfigError: for any other classifier.
    """

    def __init__(self, *, classifier: str | None = None, global_pool: str | None = None, **kwargs: Any) -> None:
        pooling = self._pooling(classifier, global_pool)
        super().__init__(global_pool="avg" if pooling == "map" else pooling, **kwargs)
        if pooling == "map":
            self._attend()

    def _pooling(self, classifier: str | None, global_pool: str | None) -> str:
        more = ("", "avgmax", "catavgmax")
        return pooling_of("swin", classifier, global_pool, default="gap", choices=_NO_CLASS_TOKEN, more=more)

    def _attend(self) -> None:
        stages: Any = self.layers
        attention = _attention_pool(self.num_features, stages[-1].blocks[-1].attn.num_heads)
        self.head.global_pool = attention.to(next(self.parameters())).train(self.training)
        self.global_pool = "map"

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Builds a new head; what is a new pooling of attention starts untrained as well.

        Args:
            num_classes: its size; 0 leaves it out.
            global_pool: as for the constructor; None leaves the pooling as it is.

        Raises:
            ConfigError: for any other pooling.
        """
        pooling = None if global_pool is None else self._pooling(None, global_pool)
        if pooling == self.global_pool:
            pooling = None
        super().reset_classifier(num_classes, "avg" if pooling == "map" else pooling)
        if pooling == "map":
            self._attend()


class PooledMixer(MlpMixer):
    """timm's MLP-Mixer with a classifier GAP, GMP or MAP; MAP has a head for every 64 channels.

    Args:
        classifier: "gap", "gmp" or "map".
        global_pool: timm's name for it.
        kwargs: as for timm's `MlpMixer`.

    Raises:
        ConfigError: for any other classifier.
    """

    def __init__(self, *, classifier: str | None = None, global_pool: str | None = None, **kwargs: Any) -> None:
        pooling = pooling_of("mixer", classifier, global_pool, default="gap", choices=_NO_CLASS_TOKEN)
        super().__init__(**kwargs)
        self.attn_pool: AttentionPool | None = None
        _set_pooling(self, pooling, max(1, self.embed_dim // 64))

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Builds a new head; what is a new pooling of attention starts untrained as well.

        Args:
            num_classes: its size; 0 leaves it out.
            global_pool: as for the constructor; None leaves the pooling as it is.

        Raises:
            ConfigError: for any other pooling.
        """
        if global_pool is not None:
            pooling = pooling_of("mixer", None, global_pool, default="gap", choices=_NO_CLASS_TOKEN)
            _set_pooling(self, pooling, max(1, self.embed_dim // 64))
        super().reset_classifier(num_classes)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Maps tokens (b, n, c) to logits (b, num_classes), or to the pooled features (b, c)."""
        if self.global_pool:
            x = global_pool_nlc(x, self.global_pool, 0) if self.attn_pool is None else self.attn_pool(x)
        x = self.head_drop(x)
        return x if pre_logits else self.head(x)


class PooledPit(PoolingVisionTransformer):
    """timm's PiT with a classifier CLS, GAP, GMP or MAP.

    With any but CLS the last stage's image tokens are normalised and pooled; the class token stays, since the stages
    pass it along, and is left unread. `forward_features` then gives all tokens, the class token first.

    Args:
        classifier: "cls", "gap", "gmp" or "map".
        global_pool: timm's name for it.
        kwargs: as for timm's `PoolingVisionTransformer`.

    Raises:
        ConfigError: for any other classifier.
    """

    def __init__(self, *, classifier: str | None = None, global_pool: str | None = None, **kwargs: Any) -> None:
        pooling = pooling_of("pit", classifier, global_pool, default="cls")
        super().__init__(**kwargs)
        self.attn_pool: AttentionPool | None = None
        _set_pooling(self, pooling, self.heads[-1])

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Builds a new head; what is a new pooling of attention starts untrained as well.

        Args:
            num_classes: its size; 0 leaves it out.
            global_pool: as for the constructor; None leaves the pooling as it is.

        Raises:
            ConfigError: for any other pooling.
        """
        if global_pool is not None:
            _set_pooling(self, pooling_of("pit", None, global_pool, default="cls"), self.heads[-1])
        super().reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Maps images to the normalised tokens: with CLS the class token alone (b, 1, c), else all (b, 1 + n, c)."""
        if self.global_pool == "token":
            class_token: Tensor = super().forward_features(x)  # type: ignore[no-untyped-call]
            return class_token
        x = self.pos_drop(self.patch_embed(x) + self.pos_embed)
        x, tokens = self.transformers((x, self.cls_token.expand(x.shape[0], -1, -1)))
        normalised: Tensor = self.norm(torch.cat([tokens, x.flatten(2).transpose(1, 2)], dim=1))
        return normalised

    def forward_intermediates(self, x: Tensor, indices: Any = None, *args: Any, **kwargs: Any) -> Any:
        """timm's, whose last features are those of `forward_features`.

        Args:
            x: images.
            indices: which stages' maps to give; None is all.
            args: as for timm's.
            kwargs: as for timm's.
        """
        if self.global_pool == "token" or kwargs.get("intermediates_only"):
            return super().forward_intermediates(x, indices, *args, **kwargs)
        wanted, _ = feature_take_indices(len(self.transformers), indices)
        class_token, maps = super().forward_intermediates(x, None, *args, **kwargs)
        tokens = self.norm(maps[-1].flatten(2).transpose(1, 2))
        return torch.cat([class_token, tokens], dim=1), [maps[index] for index in wanted]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Maps the tokens to logits (b, num_classes), or to the pooled features (b, c)."""
        if self.global_pool:
            x = global_pool_nlc(x, self.global_pool, 1) if self.attn_pool is None else self.attn_pool(x[:, 1:])
        x = self.head_drop(x)
        return x if pre_logits else self.head(x)
