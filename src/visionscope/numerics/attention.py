"""What attention tells of each head: how far and how widely it looks, how unlike the others, how bound to its query."""

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


def uniform_distance(lengths: Tensor, queries: Tensor, keys: Tensor, seen: Tensor) -> float:
    """The mean distance of a head that looks at everything it can see alike.

    Args:
        lengths: (windows, queries, keys).
        queries: (windows, queries), which of them count.
        keys: (windows, keys), which of them count.
        seen: (windows, queries, keys), which keys a query can look at.
    """
    even = (keys[:, None, :] & seen).double()[None, :, None]
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


def mutual_information(probabilities: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
    """How much a head's attention depends on the query: mutual information of query and key, normalised.

    With each of the N queries of a window equally likely, p(q) = 1 / N and p(q, k) = p_qk / N,

        I(q; k) / sqrt(H(q) H(k)),   H(q) = log N,   I(q; k) = H(k) - mean_q H(k | q)

    (Park et al. 2023, What Do Self-Supervised Vision Transformers Learn?): 0 where all queries look alike, 1 where each
    looks at one key of its own. Probabilities are divided by what a query gives to the keys that count; a query that
    gives them nothing is left out. 0 too where there is one query, or where all look at one key. The mean over windows
    is weighted by their queries.

    Args:
        probabilities: (batch, windows, heads, queries, keys), tokens with a place alone.
        queries: (windows, queries), which of them count.
        keys: (windows, keys), which of them count.

    Returns:
        (batch, heads); NaN where no query is left.
    """
    shown = probabilities if bool(keys.all()) else probabilities * keys[None, :, None, None, :].to(probabilities)
    given = shown.sum(-1, keepdim=True)
    counted = (given > 0) & queries[None, :, None, :, None]
    rows = torch.where(counted, shown / given.where(counted, 1.0), 0.0)
    count = counted.sum((-2, -1)).to(rows)
    several = count.clamp(min=1)
    of_keys = torch.special.entr(rows.sum(-2) / several[..., None]).sum(-1)
    given_query = torch.special.entr(rows).sum((-2, -1)) / several
    most = (several.log() * of_keys).sqrt()
    shares = torch.where(most > 0, (of_keys - given_query).clamp(min=0) / most.where(most > 0, 1.0), 0.0)
    return (shares * count).sum(1) / count.sum(1)


def sinks(probabilities: Tensor, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """The most attended token of each window and head, and its share of all attention.

    max_k mean_q p_qk, from 1 / keys where all are looked at alike to 1 where all queries look at one token. The mean
    over windows is weighted by their queries.

    Args:
        probabilities: (batch, windows, heads, queries, keys), the queries those with a place.
        queries: (windows, queries), which of them count.
        keys: (windows, keys), which of them count, prefix tokens among them.

    Returns:
        (batch, heads), the share; and (batch, windows, heads), which key it goes to.
    """
    weights = queries.to(probabilities)
    count = weights.sum(1)
    received = torch.einsum("bwnqk,wq->bwnk", probabilities, weights) / count.clamp(min=1)[:, None, None]
    most, which = received.where(keys[:, None, :], -1.0).max(-1)
    return torch.einsum("bwn,w->bn", most, count) / count.sum(), which


def sink_value_norm(norms: Tensor, which: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
    """The norm of the sinks' values, in units of the mean norm over the keys of their window.

    |v_s| / mean_k |v_k|; well below 1 where a sink is a place to look at without taking anything. 1 where all values
    are zero.

    Args:
        norms: (batch, windows, heads, keys), |v_k| of each head.
        which: (batch, windows, heads), from `sinks`.
        queries: (windows, queries), which of them count.
        keys: (windows, keys), which of them count, prefix tokens among them.

    Returns:
        (batch, heads), the mean over windows, weighted by their queries.
    """
    counted, weights = keys.to(norms), queries.to(norms).sum(1)
    mean = torch.einsum("bwnk,wk->bwn", norms, counted) / counted.sum(1).clamp(min=1)[:, None]
    own = norms.gather(-1, which[..., None])[..., 0]
    ratio = torch.where(mean > 0, own / mean.where(mean > 0, 1.0), 1.0)
    return torch.einsum("bwn,w->bn", ratio, weights) / weights.sum()


def _over_queries(values: Tensor, queries: Tensor) -> Tensor:
    """Mean of (batch, windows, heads, queries) over the windows and queries that count."""
    weights = queries.to(values)
    return torch.einsum("bwnq,wq->bn", values, weights) / weights.sum()
