"""Where networks run."""

import torch

from visionscope.errors import ConfigError


def check_default_device() -> None:
    """Refuses torch's default device `meta`, on which whatever is made holds no numbers.

    Raises:
        ConfigError: where it is so.
    """
    if torch.get_default_device().type == "meta":
        raise ConfigError(
            "device: torch's default device is meta, which holds no numbers; call torch.set_default_device('cpu') first"
        )


def device_of(name: str) -> torch.device:
    """The device of that name; `auto` is the accelerator where there is one.

    Raises:
        ConfigError: when there is no such device, or what torch makes holds no numbers.
    """
    check_default_device()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device: must be auto, cpu, cuda or cuda:N, if available; got {name!r} ({reason})") from None
    return device
