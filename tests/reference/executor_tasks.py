"""Tasks for the tests of executors; a module of its own, for workers import it."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from visionscope.errors import ConfigError
from visionscope.experiments.executors.work import File


def files(count: int, size: int = 1) -> Iterator[File]:
    for number in range(count):
        yield File(f"some/{number}", bytes([number % 256]) * size)


def waits_for(folder: str, count: int) -> Iterator[File]:
    """Yields the next file only when something named like the last one is in the folder."""
    for number in range(count):
        yield File(str(number), b"")
        until = time.monotonic() + 60
        while not (Path(folder) / str(number)).exists():
            assert time.monotonic() < until, "nobody took the file"
            time.sleep(0.01)


def process(text: str = "") -> Iterator[File]:
    yield File("pid", str(os.getpid()).encode())
    if text:
        print(text, file=sys.stderr)


def endless() -> Iterator[File]:
    yield File("pid", str(os.getpid()).encode())
    time.sleep(600)


def leaves(code: int) -> Iterator[File]:
    yield File("first", b"")
    print("the last words", file=sys.stderr, flush=True)
    os._exit(code)


def crashes() -> Iterator[File]:
    yield File("first", b"")
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(600)


def refuses(text: str) -> Iterator[File]:
    yield File("first", b"")
    raise ConfigError(text)


def fails(text: str) -> Iterator[File]:
    yield File("first", b"")
    raise LookupError(text)


def exits() -> Iterator[File]:
    yield File("first", b"")
    sys.exit("enough")


def prints() -> Iterator[File]:
    print("on stdout", "x" * 100_000)
    yield File("stdin", repr(sys.stdin.read()).encode())


def surroundings() -> Iterator[File]:
    import torch

    told = [torch.get_num_threads(), os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.is_available()]
    yield File("surroundings", repr(told).encode())


def steps_of_descent(seed: int) -> Iterator[File]:
    """The weights of a small network after each of three steps, to the bit."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.GELU(), nn.Flatten(), nn.LazyLinear(10))
    images, labels = torch.randn(64, 3, 16, 16), torch.randint(10, (64,))
    network(images)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for step in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        bits = b"".join(value.detach().numpy().tobytes() for value in network.state_dict().values())
        yield File(f"step-{step}", bits)


_made = 0


def make(size: int) -> list[int]:
    global _made
    _made += 1
    return [size, _made]


def part(held: list[int], number: int) -> Iterator[File]:
    yield File(f"part-{number}", f"{os.getpid()} {held[0]} {held[1]}".encode())


def cannot_make() -> list[int]:
    raise ConfigError("model: there is no such network")
