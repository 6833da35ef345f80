"""Whether a model is left as it was found: weights, flags, hooks, attributes, random numbers, fused attention."""

import hashlib
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as global_hooks

_HOOKS = [
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks",
    "_forward_hooks_always_called",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks",
]


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything that tracing or watching could leave behind."""
    return {
        "state": {
            name: hashlib.sha256(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
            for name, tensor in [*model.named_parameters(), *model.named_buffers()]
            if tensor.device.type != "meta"
        },
        "gradients": [(parameter.requires_grad, parameter.grad is None) for parameter in model.parameters()],
        "training": [module.training for module in model.modules()],
        "hooks": [[list(getattr(module, hooks)) for hooks in _HOOKS] for module in model.modules()],
        "global hooks": [
            list(getattr(global_hooks, hooks))
            for hooks in ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks")
        ],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "random": torch.random.get_rng_state().tolist(),
        "fused attention": torch.backends.mha.get_fastpath_enabled(),
        "modes": torch._C._len_torch_function_stack(),
    }
