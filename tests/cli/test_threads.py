"""Calls from several threads at once give what one call gives."""

import threading

import pytest
import torch

import visionscope as vs
from running.networks import convolutions, tokens

IMAGES = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "ask",
    [
        lambda network: vs.fourier(network, IMAGES).table.to_pydict(),
        lambda network: vs.variance(network, IMAGES).table.to_pydict(),
        lambda network: vs.lesion(network, IMAGES, torch.arange(8), mode="conv").table.to_pydict(),
        lambda network: vs.points(network, size=16),
    ],
)
@pytest.mark.parametrize("make", [convolutions, tokens])
def test_four_threads_and_one_network(make, ask):
    network = make().train()
    found = []

    def go() -> None:
        try:
            found.append(ask(network))
        except vs.VisionscopeError as error:
            found.append(str(error))

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    go()
    assert len(found) == 5
    assert all(one == found[-1] for one in found)
    assert network.training


@pytest.mark.parametrize(
    "ask", [lambda net: vs.fourier(net, IMAGES), lambda net: vs.points(net), lambda net: vs.diagnose("resnet_nano")]
)
def test_default_device_without_numbers_is_refused(ask):
    network = convolutions()
    torch.set_default_device("meta")
    try:
        with pytest.raises(vs.VisionscopeError, match=r"device: torch's default device is meta, .*set_default_device"):
            ask(network)
    finally:
        torch.set_default_device(None)
