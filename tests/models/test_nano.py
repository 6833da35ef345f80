"""The three small networks: their architectures are frozen, since weights ship for them."""

import hashlib

import pytest
import timm

import visionscope.models.load  # noqa: F401  # registers the networks


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("resnet_nano", "2dcb478f5fef1761d4c0ea583124977dd30d6b5f0abe9e207e7906b175ff544b"),
        ("alternet_nano", "3e115d59d0d8699e711c53383f513ed7a9fa04a8c434b8eaee5cd6f1c5ddcea1"),
        ("vit_nano", "609d71a08534887afa0ca538f928bde80842f16099283d7461966e9965ead44f"),
    ],
)
def test_an_architecture_keeps_the_names_and_shapes_of_its_weights(name: str, digest: str) -> None:
    state = timm.create_model(name).state_dict()
    described = "\n".join(f"{key} {tuple(value.shape)}" for key, value in state.items())
    assert hashlib.sha256(described.encode()).hexdigest() == digest
