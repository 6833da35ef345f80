"""Hessian-vector products against matrices that are known, and the dense Hessian of a small network."""

import pytest
import timm
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from reference.hessian import dense_hessian
from visionscope.curvature.hvp import HessianProduct, flat, split


def test_a_quadratic_loss_has_its_own_matrix() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(7, 7, generator=generator, dtype=torch.float64)
    matrix = matrix + matrix.T
    one, other = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((2, 2), (3,)))
    parameters = [one.requires_grad_(), other.requires_grad_()]
    vector = flat(parameters)
    product = HessianProduct(vector @ matrix @ vector / 2, parameters)
    for row in range(7):
        unit = torch.zeros(7, dtype=torch.float64)
        unit[row] = 1
        torch.testing.assert_close(product.block([0, 1])(unit), matrix[row])
    torch.testing.assert_close(product.block([1])(torch.eye(3, dtype=torch.float64)[2]), matrix[4:, 4:][2])


def test_what_the_loss_is_linear_in_or_does_not_hold_has_rows_of_zero() -> None:
    linear, unused = torch.ones(3, requires_grad=True), torch.ones(2, requires_grad=True)
    product = HessianProduct((2 * linear).sum(), [linear, unused])
    assert product.block([0, 1])(torch.ones(5)).tolist() == [0.0] * 5


@pytest.mark.parametrize("kind", ["transformer", "convolutional"])
def test_every_column_is_the_dense_one(kind: str) -> None:
    torch.manual_seed(0)
    model: torch.nn.Module
    if kind == "transformer":
        model = timm.models.VisionTransformer(
            img_size=8, patch_size=4, embed_dim=6, depth=1, num_heads=2, mlp_ratio=1, num_classes=3
        )
    else:
        model = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3),
            torch.nn.BatchNorm2d(4),
            torch.nn.GELU(),
            torch.nn.Flatten(),
            torch.nn.Linear(144, 3),
        )
    model = model.double().eval()
    images, labels = torch.randn(5, 3, 8, 8, dtype=torch.float64), torch.randint(3, (5,))
    dense = dense_hessian(model, images, labels)
    parameters = list(model.parameters())
    with sdpa_kernel(SDPBackend.MATH):
        product = HessianProduct(F.cross_entropy(model(images), labels), parameters).block(range(len(parameters)))
        found = torch.stack([product(unit) for unit in torch.eye(len(dense), dtype=torch.float64)])
    torch.testing.assert_close(found, dense, rtol=1e-6, atol=2e-9)


def test_split_undoes_flat() -> None:
    tensors = [torch.randn(2, 3), torch.randn(4), torch.randn(1, 1, 5)]
    for one, other in zip(split(flat(tensors), tensors), tensors, strict=True):
        assert torch.equal(one, other)
