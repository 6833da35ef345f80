"""What attention probabilities tell of each head: how far it looks, how widely, and how unlike the others."""

import torch
from torch import Tensor


def mean_distance(probabilities: Tensor, lengths: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
    """Expected distance between a query and what it looks at, mean over queries.

        sum_q sum_k p_qk |x_q - x_k| / sum_k p_qk / number of queries

    A query that gives the keys with a place nothing (all of it goes to prefix tokens) is left out.

    Args:
        probabilities: (batch, windows, heads, queries, keys), tokens with a place alone.
        lengths: (windows, queries, keys), |x_q - x_k|.
        queries: (windows, queries), which of them count.
        keys: (windows, keys), which of them count.

    Returns:
        (batch, heads), in the unit of `lengths`; NaN where no query is left.
    """
    shown = probabilities if bool(keys.all()) else probabilities * keys[None, :, None, None, :].to(probabilities)
    given = shown.sum(-1)
    far = torch.einsum("bwnqk,wqk->bwnq", shown, lengths.to(shown))
    counted = (given > 0) & queries[None, :, None, :]
    # Where a query gives nothing, 0 / 0 would spoil the sum although it is left out.
    ratio = torch.where(counted, far / given.where(counted, 1.0), 0.0)
    return ratio.sum((1, 3)) / counted.sum((1, 3))


def uniform_distance(lengths: Tensor, queries: Tensor, keys: Tensor) -> float:
    """The mean distance of a head that looks everywhere alike.

    Args:
        lengths: (windows, queries, keys).
        queries: (windows, queries), which of them count.
        keys: (windows, keys), which of them count.
    """
    even = keys.double()[None, :, None, None, :].expand(1, -1, 1, lengths.shape[1], -1)
    return float(mean_distance(even, lengths.double(), queries, keys))


def mean_entropy(probabilities: Tensor, queries: Tensor) -> Tensor:
    """Shannon entropy of each query's distribution over all keys, mean over queries.

    Args:
        probabilities: (batch, windows, heads, queries, keys), the queries those with a place.
        queries: (windows, queries), which of them count.

    Returns:
        (batch, heads), in nats.
    """
    return _over_queries(torch.special.entr(probabilities).sum(-1), queries)


def head_diversity(probabilities: Tensor, queries: Tensor) -> Tensor:
    """How unlike the other heads each head is: 1 - cosine similarity of distributions, mean over heads and queries.

    With u the distribution of a query over its keys, scaled to length 1, and n heads

        d_i = 1 - mean over j != i of u_i . u_j = 1 - (u_i . sum_j u_j - 1) / (n - 1)

    0 where all heads look alike, 1 where no two look at a common key.

    Args:
        probabilities: (batch, windows, heads, queries, keys), the queries those with a place; at least 2 heads.
        queries: (windows, queries), which of them count.

    Returns:
        (batch, heads).
    """
    heads = probabilities.shape[2]
    units = probabilities / probabilities.norm(dim=-1, keepdim=True)
    alike = (units * units.sum(2, keepdim=True)).sum(-1)
    return _over_queries(1 - (alike - 1) / (heads - 1), queries)


def _over_queries(values: Tensor, queries: Tensor) -> Tensor:
    """Mean of (batch, windows, heads, queries) over the windows and queries that count."""
    weights = queries.to(values)
    return torch.einsum("bwnq,wq->bn", values, weights) / weights.sum()
