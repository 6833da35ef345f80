"""Two processes that train one network with DistributedDataParallel, with a monitor and without."""

import os
from pathlib import Path

import torch
from torch import nn

import visionscope as vs
from monitoring.test_monitor_plain import IMAGES, LABELS, SMALL_SHARPNESS, WITH_UPDATES, bits, net


def trained(rank: int, out: Path, *, watched: bool) -> object:
    """Four steps on this process's half of the images; what they end with, to the bit."""
    network = net()
    model = nn.parallel.DistributedDataParallel(network)
    optimizer = torch.optim.AdamW([one for one in network.parameters() if one.requires_grad], lr=1e-2)
    fields = {"diagnostics": WITH_UPDATES, "fields": SMALL_SHARPNESS, "every": 2, "at_most": None}
    monitor = vs.Monitor(IMAGES, LABELS, out=out, **fields) if watched else None
    torch.manual_seed(rank)
    if monitor:
        monitor.step(model, 0, 0)
    for step in range(4):
        loss = nn.functional.cross_entropy(model(IMAGES[rank::2] + torch.randn(())), LABELS[rank::2])
        loss.backward()
        optimizer.step()
        if monitor:
            monitor.step(model, step + 1, 0)
        kept = {name: one.grad.clone() for name, one in network.named_parameters() if one.grad is not None}
        optimizer.zero_grad()
    return bits(
        {
            "weights": network.state_dict(),
            "gradients": kept,
            "optimizer": optimizer.state_dict()["state"],
            "modes": [one.training for one in network.modules()],
            "torch": torch.get_rng_state(),
        }
    )


def both(rank: int, folder: Path) -> None:
    """Trains twice in one of two processes, and keeps what each training ended with in a file of its own."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'group'}", rank=rank, world_size=2)
    try:
        for watched in (False, True):
            torch.save(trained(rank, folder / f"rank-{rank}", watched=watched), folder / f"{rank}-{watched}.pt")
    finally:
        torch.distributed.destroy_process_group()
