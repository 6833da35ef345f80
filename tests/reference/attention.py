"""A transformer's forward pass and the measures of its heads, written out slowly in float64."""

import math

import torch


def vit_attention(model, images):
    """The probabilities (batch, heads, tokens, tokens) of every block of a plain timm ViT, and its logits."""
    maps, _, logits = vit_pass(model, images)
    return maps, logits


def vit_pass(model, images):
    """Probabilities, values (batch, heads, tokens, channels) of every block of a plain timm ViT, and its logits.

    Args:
        model: a VisionTransformer of float64 with a class token and learned positions, no layer scale, no q/k norm.
        images: (batch, 3, height, width).
    """

    def norm(layer, x):
        mean = x.mean(-1, keepdim=True)
        variance = ((x - mean) ** 2).mean(-1, keepdim=True)
        return (x - mean) / (variance + layer.eps).sqrt() * layer.weight + layer.bias

    side = model.patch_embed.patch_size[0]
    weight = model.patch_embed.proj.weight
    x = []
    for image in images:
        tokens = []
        for top in range(0, image.shape[1], side):
            for left in range(0, image.shape[2], side):
                patch = image[:, top : top + side, left : left + side]
                tokens.append((weight * patch).sum((1, 2, 3)) + model.patch_embed.proj.bias)
        x.append(torch.cat([model.cls_token[0], torch.stack(tokens)]) + model.pos_embed[0])
    x = torch.stack(x)
    maps, values = [], []
    for block in model.blocks:
        y = norm(block.norm1, x)
        heads, width = block.attn.num_heads, y.shape[-1] // block.attn.num_heads
        q, k, v = (y @ block.attn.qkv.weight.T + block.attn.qkv.bias).chunk(3, dim=-1)
        outputs, own = [], []
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            scores = (q[..., part] @ k[..., part].mT / math.sqrt(width)).exp()
            probabilities = scores / scores.sum(-1, keepdim=True)
            own.append(probabilities)
            outputs.append(probabilities @ v[..., part])
        maps.append(torch.stack(own, dim=1))
        values.append(torch.stack(v.split(width, dim=-1), dim=1))
        x = x + torch.cat(outputs, -1) @ block.attn.proj.weight.T + block.attn.proj.bias
        y = norm(block.norm2, x) @ block.mlp.fc1.weight.T + block.mlp.fc1.bias
        y = y * (1 + torch.erf(y / math.sqrt(2))) / 2
        x = x + y @ block.mlp.fc2.weight.T + block.mlp.fc2.bias
    return maps, values, norm(model.norm, x)[:, 0] @ model.head.weight.T + model.head.bias


def measures(rows, places, prefix):
    """Distance, entropy and diversity of each head of one image, query by query and key by key.

    Args:
        rows: nested (heads, tokens, tokens), prefix tokens first.
        places: the centre (y, x) in pixels of each token with a place.
        prefix: number of tokens without one.
    """
    found = []
    for head, own in enumerate(rows):
        distances, entropies, diversities = [], [], []
        for query, place in enumerate(places):
            row = own[prefix + query]
            given = sum(row[prefix:])
            far = sum(p * math.dist(place, other) for p, other in zip(row[prefix:], places, strict=True))
            distances.append(far / given)
            entropies.append(-sum(p * math.log(p) for p in row if p > 0))
            length = math.sqrt(sum(p * p for p in row))
            unlike = []
            for other, others in enumerate(rows):
                if other != head:
                    theirs = others[prefix + query]
                    product = sum(a * b for a, b in zip(row, theirs, strict=True))
                    unlike.append(1 - product / length / math.sqrt(sum(p * p for p in theirs)))
            diversities.append(sum(unlike) / len(unlike) if unlike else math.nan)
        found.append([sum(values) / len(values) for values in (distances, entropies, diversities)])
    return found


def dependence(rows, prefix, values=None):
    """Mutual information, share of the sink, whether it is a prefix token, its value norm, of each head of one image.

    Args:
        rows: nested (heads, tokens, tokens), prefix tokens first.
        prefix: number of tokens without a place.
        values: nested (heads, tokens, channels); without them there is no value norm.
    """

    def entropy(shares):
        return -math.fsum(p * math.log(p) for p in shares if p > 0)

    found = []
    for head, own in enumerate(rows):
        asked = own[prefix:]
        count = len(asked)
        given = [[p / math.fsum(row[prefix:]) for p in row[prefix:]] for row in asked]
        joint = [p / count for row in given for p in row]
        of_key = [math.fsum(column) / count for column in zip(*given, strict=True)]
        shared = math.log(count) + entropy(of_key) - entropy(joint)  # H(q) + H(k) - H(q, k)
        most = math.sqrt(math.log(count) * entropy(of_key))
        received = [math.fsum(column) / count for column in zip(*asked, strict=True)]
        sink = received.index(max(received))
        found.append([shared / most if most > 0 else 0.0, received[sink], float(sink < prefix)])
        if values is not None:
            lengths = [math.hypot(*value) for value in values[head]]
            found[-1].append(lengths[sink] / (math.fsum(lengths) / len(lengths)))
    return found


def grid_places(grid, image):
    """The centre (y, x) of each patch, in pixels."""
    (rows, columns), (height, width) = grid, image
    return [
        ((row + 0.5) * height / rows, (column + 0.5) * width / columns)
        for row in range(rows)
        for column in range(columns)
    ]


def uniform_grid_distance(grid, image):
    """Mean distance between two places of a grid drawn evenly, in closed form over offsets instead of pairs."""
    (rows, columns), (height, width) = grid, image
    total = 0.0
    for down in range(-rows + 1, rows):
        for across in range(-columns + 1, columns):
            often = (rows - abs(down)) * (columns - abs(across))
            total += often * math.hypot(down * height / rows, across * width / columns)
    return total / (rows * columns) ** 2
