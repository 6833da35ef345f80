"""The official networks (PAPER.md 1.0.2, 1.15) written down plainly: float32, nothing fused, softmax and products bare.

Names and order of the state dict are those of the official files. What is not obvious and was settled by the golden
logits: BN-ReLU in convolution blocks and BN-GELU at the head of an attention block; where a pre-activation block has
a shortcut convolution, that one sees the activated map; attention's channels are (head, dim) in this order; the ViT's
patches are (row, column, channel).
"""

import torch
from torch import nn

from .regenerable import regenerated

STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 4), 50: (3, 4, 6, 4)}
ALTERNET_MSA = {18: (0, 1, 1, 1), 34: (0, 1, 3, 2), 50: (0, 1, 3, 2)}
HEAD_DIM = 64


def regenerate(model):
    """Fills a network with the weights of `_weights` in official_models.json."""
    model.load_state_dict(regenerated((name, value.shape) for name, value in model.state_dict().items()))
    return model


def convolution(channels_in, channels_out, kernel=1, stride=1):
    return nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)


def changes(channels_in, channels_out, stride):
    return stride != 1 or channels_in != channels_out


class PostActivation(nn.Module):
    """ResNet's block: convolution-BN-ReLU, the last ReLU after the sum."""

    def __init__(self, channels_in, channels_out, stride, bottleneck):
        super().__init__()
        middle = channels_out // 4 if bottleneck else channels_out
        self.shortcut = nn.Sequential()
        if changes(channels_in, channels_out, stride):
            self.shortcut = nn.Sequential(
                convolution(channels_in, channels_out, 1, stride), nn.BatchNorm2d(channels_out)
            )
        if bottleneck:
            self.conv1 = nn.Sequential(convolution(channels_in, middle), nn.BatchNorm2d(middle), nn.ReLU())
            self.conv2 = nn.Sequential(convolution(middle, middle, 3, stride), nn.BatchNorm2d(middle), nn.ReLU())
            self.conv3 = nn.Sequential(convolution(middle, channels_out), nn.BatchNorm2d(channels_out))
        else:
            self.conv1 = nn.Sequential(convolution(channels_in, middle, 3, stride), nn.BatchNorm2d(middle), nn.ReLU())
            self.conv2 = nn.Sequential(convolution(middle, channels_out, 3), nn.BatchNorm2d(channels_out))
            self.conv3 = nn.Sequential()

    def forward(self, x):
        return torch.relu(self.conv3(self.conv2(self.conv1(x))) + self.shortcut(x))


class PreActivation(nn.Module):
    """Pre-activation block: BN-ReLU-convolution; a shortcut convolution sees the activated map."""

    def __init__(self, channels_in, channels_out, stride, bottleneck):
        super().__init__()
        middle = channels_out // 4 if bottleneck else channels_out
        self.shortcut = nn.Sequential()
        if changes(channels_in, channels_out, stride):
            self.shortcut = nn.Sequential(convolution(channels_in, channels_out, 1, stride))
        self.bn = nn.BatchNorm2d(channels_in)
        if bottleneck:
            self.conv1 = convolution(channels_in, middle)
            self.conv2 = nn.Sequential(nn.BatchNorm2d(middle), nn.ReLU(), convolution(middle, middle, 3, stride))
            self.conv3 = nn.Sequential(nn.BatchNorm2d(middle), nn.ReLU(), convolution(middle, channels_out))
        else:
            self.conv1 = convolution(channels_in, middle, 3, stride)
            self.conv2 = nn.Sequential(nn.BatchNorm2d(middle), nn.ReLU(), convolution(middle, channels_out, 3))
            self.conv3 = nn.Sequential()

    def forward(self, x):
        active = torch.relu(self.bn(x))
        skip = self.shortcut(active) if len(self.shortcut) else x
        return self.conv3(self.conv2(self.conv1(active))) + skip


class Attention2d(nn.Module):
    """Attention of all positions of a map, with a bias on the logits."""

    def __init__(self, dim, dim_out, heads):
        super().__init__()
        self.heads = heads
        self.to_q = convolution(dim, heads * HEAD_DIM)
        self.to_kv = convolution(dim, 2 * heads * HEAD_DIM)
        self.to_out = nn.Sequential(nn.Conv2d(heads * HEAD_DIM, dim_out, 1))

    def forward(self, x, bias):
        batch, _, height, width = x.shape
        maps = (self.to_q(x), *self.to_kv(x).chunk(2, dim=1))
        q, k, v = (value.reshape(batch, self.heads, HEAD_DIM, height * width) for value in maps)
        logits = torch.einsum("bhdi,bhdj->bhij", q, k) * HEAD_DIM**-0.5 + bias
        mixed = torch.einsum("bhij,bhdj->bhdi", torch.softmax(logits, dim=-1), v)
        return self.to_out(mixed.reshape(batch, self.heads * HEAD_DIM, height, width))


class LocalAttention(nn.Module):
    """Attention inside windows, with one table of relative positions for all heads."""

    def __init__(self, dim, dim_out, heads, window):
        super().__init__()
        self.window = window
        self.pos_embedding = nn.Parameter(torch.randn(2 * window - 1, 2 * window - 1))
        self.attn = Attention2d(dim, dim_out, heads)
        place = torch.tensor([(row, column) for row in range(window) for column in range(window)])
        self.offset = place[None, :] - place[:, None] + window - 1  # of key minus query

    def forward(self, x):
        batch, channels, height, width = x.shape
        p, rows, columns = self.window, height // self.window, width // self.window
        x = x.reshape(batch, channels, rows, p, columns, p).permute(0, 2, 4, 1, 3, 5)
        x = x.reshape(batch * rows * columns, channels, p, p)
        x = self.attn(x, self.pos_embedding[self.offset[:, :, 0], self.offset[:, :, 1]])
        x = x.reshape(batch, rows, columns, -1, p, p).permute(0, 3, 1, 4, 2, 5)
        return x.reshape(batch, -1, height, width)


class MsaBlock(nn.Module):
    """AlterNet's block B: BN-GELU-1x1-BN-attention; no feed-forward network."""

    def __init__(self, channels, heads, window, bottleneck):
        super().__init__()
        middle = channels // 4 if bottleneck else channels
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv = convolution(channels, middle)
        self.norm2 = nn.BatchNorm2d(middle)
        self.attn = LocalAttention(middle, channels, heads, window)

    def forward(self, x):
        active = nn.functional.gelu(self.norm1(x))
        return self.attn(self.norm2(self.conv(active))) + x


class Dense(nn.Module):
    """Mean over the positions and one linear map, after BN and ReLU where the blocks end without."""

    def __init__(self, channels, classes, norm):
        super().__init__()
        self.bn = nn.BatchNorm2d(channels) if norm else None
        self.dense = nn.Linear(channels, classes)

    def forward(self, x):
        x = x if self.bn is None else torch.relu(self.bn(x))
        return self.dense(x.mean(dim=(2, 3)))


class Residual(nn.Module):
    """A stem, four stages and a classifier."""

    def __init__(self, stem, stages, classifier):
        super().__init__()
        self.layer0 = stem
        self.layer1, self.layer2, self.layer3, self.layer4 = (nn.Sequential(*blocks) for blocks in stages)
        self.classifier = nn.Sequential(classifier)

    def forward(self, x):
        return self.classifier(self.layer4(self.layer3(self.layer2(self.layer1(self.layer0(x))))))


def resnet(depth, classes=100):
    """ResNet-18 or -50 with blocks 3-4-6-3 and the 3x3 stem without pooling."""
    blocks = STAGES[18] if depth == 18 else (3, 4, 6, 3)
    stem = nn.Sequential(convolution(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU())
    channels, stages = _stages(PostActivation, blocks, bottleneck=depth >= 50)
    return Residual(stem, stages, Dense(channels, classes, norm=False))


def preresnet(depth, classes=100, blocks=None):
    """The pre-activation form; blocks 3-4-6-4 make AlterNet's baseline."""
    blocks = blocks or (STAGES[18] if depth == 18 else (3, 4, 6, 3))
    channels, stages = _stages(PreActivation, blocks, bottleneck=depth >= 50)
    return Residual(nn.Sequential(convolution(3, 64, 3)), stages, Dense(channels, classes, norm=True))


def alternet(depth, classes=100, msa=None, window=4, stem=False):
    """AlterNet; `msa` counts the attention blocks per stage, `stem` is ImageNet's 7x7 with pooling."""
    bottleneck = depth >= 50
    channels, stages = _stages(PreActivation, STAGES[depth], bottleneck)
    for number, (stage, count) in enumerate(zip(stages, msa or ALTERNET_MSA[depth], strict=True)):
        width = 64 * 2**number * (4 if bottleneck else 1)
        for index in range(count):  # conv, ..., (conv, msa) x count
            stage[-1 - 2 * index] = MsaBlock(width, 3 * 2**number, window, bottleneck)
    first = nn.Sequential(convolution(3, 64, 3))
    if stem:
        first = nn.Sequential(convolution(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1))
    named = nn.Sequential()
    named.layer0 = first
    return Residual(named, stages, Dense(channels, classes, norm=True))


def _stages(block, counts, bottleneck):
    channels, stages = 64, []
    for stage, count in enumerate(counts):
        width = 64 * 2**stage * (4 if bottleneck else 1)
        blocks = []
        for index in range(count):
            blocks.append(block(channels, width, 2 if stage and not index else 1, bottleneck))
            channels = width
        stages.append(blocks)
    return channels, stages


class Attention1d(nn.Module):
    """Attention of all tokens, without biases on query, key and value."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.to_out = nn.Sequential(nn.Linear(dim, dim))

    def forward(self, x):
        batch, tokens, dim = x.shape
        q, k, v = (
            value.reshape(batch, tokens, self.heads, -1).transpose(1, 2) for value in self.to_qkv(x).chunk(3, dim=-1)
        )
        logits = torch.einsum("bhid,bhjd->bhij", q, k) * (dim // self.heads) ** -0.5
        mixed = torch.einsum("bhij,bhjd->bhid", torch.softmax(logits, dim=-1), v)
        return self.to_out(mixed.transpose(1, 2).reshape(batch, tokens, dim))


class FeedForward(nn.Module):
    """Linear-GELU-linear; the empty places are the official module's dropouts."""

    def __init__(self, dim, hidden):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(), nn.Identity(), nn.Linear(hidden, dim), nn.Identity()
        )

    def forward(self, x):
        return self.net(x)


class Encoder(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, dim, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention1d(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim, 4 * dim)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.ff(self.norm2(x))


class Patches(nn.Module):
    """Cuts images into patches and maps each."""

    def __init__(self, size, dim):
        super().__init__()
        self.size = size
        self.patch_embedding = nn.Sequential(nn.Identity(), nn.Linear(3 * size**2, dim))

    def forward(self, x):
        batch, channels, height, width = x.shape
        p = self.size
        x = x.reshape(batch, channels, height // p, p, width // p, p).permute(0, 2, 4, 3, 5, 1)
        return self.patch_embedding(x.reshape(batch, (height // p) * (width // p), p * p * channels))


class ClassToken(nn.Module):
    """Puts a learnt token first."""

    def __init__(self, dim):
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))

    def forward(self, x):
        return torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)


class Positions(nn.Module):
    """Adds learnt positions."""

    def __init__(self, tokens, dim):
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.randn(1, tokens, dim))

    def forward(self, x):
        return x + self.pos_embedding


class First(nn.Module):
    """The class token alone."""

    def forward(self, x):
        return x[:, 0]


class VisionTransformer(nn.Module):
    """Patches, encoders, and a classifier on the class token."""

    def __init__(self, image_size, patch, dim, depth, heads, classes):
        super().__init__()
        tokens = (image_size // patch) ** 2 + 1
        self.embedding = nn.Sequential(Patches(patch, dim), ClassToken(dim), Positions(tokens, dim))
        self.transformers = nn.Sequential(*(Encoder(dim, heads) for _ in range(depth)))
        self.classifier = nn.Sequential(First(), nn.LayerNorm(dim), nn.Linear(dim, classes))

    def forward(self, x):
        return self.classifier(self.transformers(self.embedding(x)))


def vit_tiny(classes=100, image_size=32, patch=2):
    """ViT-Ti of the CIFAR experiments."""
    return VisionTransformer(image_size, patch, 192, 12, 3, classes)
