"""The words for precisions, the same in every command; which of them a command has is its own matter."""

FP32, FP64, BF16, FP16, AUTO = "fp32", "fp64", "bf16", "fp16", "auto"
_OF_FP32 = ("32", "float32", "float", "32-true", "full", "single")
_OF_BF16 = ("bfloat16", "bf16-mixed", "bf16-true", "16")
_OF_FP16 = ("float16", "half", "16-mixed", "16-true")
_OF_FP64 = ("64", "float64", "double", "64-true")


def meant(choices: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Other programs' spellings, and precisions that a command does not have, each with the nearest that it has.

    Args:
        choices: those that it has.
    """
    usual = FP32
    instead = {FP16: BF16, AUTO: usual, FP64: usual}
    names = {FP32: _OF_FP32, BF16: _OF_BF16, FP16: _OF_FP16, FP64: _OF_FP64, AUTO: ()}
    pairs = []
    for name, others in names.items():
        nearest = name if name in choices else instead[name]
        pairs += [(other, nearest) for other in (*others, name) if other != nearest]
    return tuple(pairs)
