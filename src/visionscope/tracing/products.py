"""The axes of products: which token of which operand a row or a column of the result is."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from visionscope.tracing.axes import Axes, Axis, fresh, is_map, is_placed

ATTENTION = re.compile(r".*scaled_dot_product_\w*attention|.*multi_head_attention.*|flex_attention")
PRODUCTS = re.compile(
    r"matmul|bmm|mm|mv|addmm|addbmm|baddbmm|einsum|tensordot|inner|linalg_matmul|linalg_multi_dot|chain_matmul"
    f"|{ATTENTION.pattern}"
)
_ADDING = frozenset({"addmm", "addbmm", "baddbmm"})
Source = tuple[Tensor, Axes | None]


def product(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], sources: Sequence[Source], output: Tensor
) -> Axes | None:
    """The axes of a product's result, or None where they can't be followed.

    Args:
        name: of the function, one of `PRODUCTS`.
        args: its positional arguments.
        kwargs: its keyword arguments.
        sources: the tensors among its arguments that were computed from the images, with their axes.
        output: its result.
    """
    if name == "einsum":
        axes = _einsum(args, kwargs, sources)
    elif ATTENTION.fullmatch(name):
        axes = _attention(name, sources, output)
    elif name in {"tensordot", "inner", "mv", "linalg_multi_dot", "chain_matmul"}:
        return None
    elif len(sources) == 1:
        axes = _by_weights(name, args, kwargs, sources[0], output)
    else:
        axes = _of_two(name, sources, output)
    return axes if axes is not None and [axis.size for axis in axes] == list(output.shape) else None


def across_tokens(axes: Axes | None, place: int) -> bool:
    """Whether an axis runs over places of the image alone, so that a linear map along it mixes them.

    Args:
        axes: of a tensor.
        place: of the axis, negative.
    """
    if axes is None or len(axes) < -place:
        return False
    roles = axes[place].roles
    return bool(roles & {"h", "w"}) and "c" not in roles


def weights_first(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], tracked: Tensor) -> bool:
    """Whether the one operand that was computed from the images is multiplied from the left.

    Args:
        name: of the function.
        args: its positional arguments.
        kwargs: its keyword arguments.
        tracked: the operand.
    """
    operands = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    operands = operands[1:] if name in _ADDING else operands
    return len(operands) > 1 and operands[1] is tracked


def sums_tokens(args: Sequence[Any], kwargs: Mapping[str, Any], tracked: Tensor, axes: Axes | None) -> bool:
    """Whether an `einsum` with weights sums over places of the image.

    Args:
        args: its positional arguments.
        kwargs: its keyword arguments.
        tracked: the operand that was computed from the images.
        axes: of that operand.
    """
    equation = args[0] if args else kwargs.get("equation")
    if not isinstance(equation, str) or axes is None:
        return False
    operands = args[1] if len(args) == 2 and isinstance(args[1], (tuple, list)) else args[1:]
    inputs, _, result = equation.replace(" ", "").partition("->")
    for operand, term in zip(operands, inputs.split(","), strict=False):
        if operand is tracked:
            letters = _letters(term, operand.dim() - len(term.replace("...", "")))
            kept = {*result, *(letter for letter in letters if letter.isdigit())}
            summed = [axis for letter, axis in zip(letters, axes, strict=False) if letter not in kept]
            return any(is_placed(axis) and "c" not in axis.roles for axis in summed)
    return False


def _by_weights(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], source: Source, output: Tensor
) -> Axes | None:
    tensor, axes = source
    if axes is None or len(axes) != output.dim():
        return None
    if weights_first(name, args, kwargs, tensor):
        return (*axes[:-2], fresh("?" if is_placed(axes[-2]) else "c", output.shape[-2]), axes[-1])
    return (*axes[:-1], fresh("?" if across_tokens(axes, -1) else "c", output.shape[-1]))


def _of_two(name: str, sources: Sequence[Source], output: Tensor) -> Axes | None:
    if any(tensor.dim() != output.dim() for tensor, _ in sources):
        return like_any(sources, output)
    operands = sources[1:] if name in _ADDING and len(sources) > 2 else sources
    (left, rows), (right, columns) = operands[0], operands[-1]
    # A square matrix whose own axes were lost maps an axis of the other operand onto itself.
    batch = next((axes[:-2] for axes in (rows, columns) if axes is not None and _known(*axes[:-2])), None)
    row = rows[-2] if rows and _known(rows[-2]) else columns[-2] if rows and columns and _is_square(left) else None
    column = (
        columns[-1] if columns and _known(columns[-1]) else rows[-1] if columns and rows and _is_square(right) else None
    )
    if batch is None:
        return like_any(sources, output)
    return (*batch, row or fresh("?", output.shape[-2]), column or fresh("?", output.shape[-1]))


def _attention(name: str, sources: Sequence[Source], output: Tensor) -> Axes | None:
    """Rows are the queries'; channels the values'."""
    axes = sources[0][1]
    if axes is None or len(axes) != output.dim():
        return None
    if "multi_head" in name or sources[0][0].shape == output.shape:
        return (*axes[:-1], axes[-1] if axes[-1].size == output.shape[-1] else fresh("c", output.shape[-1]))
    return (*axes[:-1], fresh("c", output.shape[-1]))


def _einsum(args: Sequence[Any], kwargs: Mapping[str, Any], sources: Sequence[Source]) -> Axes | None:
    """Each letter of the result is the axis of that letter in an operand; a letter of weights alone is a new axis."""
    equation = args[0] if args else kwargs.get("equation")
    if not isinstance(equation, str):
        return None
    operands = args[1] if len(args) == 2 and isinstance(args[1], (tuple, list)) else args[1:]
    inputs, arrow, result = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if not arrow or len(terms) != len(operands):
        return None
    known = {id(tensor): axes for tensor, axes in sources}
    found: dict[str, Axis] = {}
    sizes: dict[str, int] = {}
    kept: set[str] = set()
    dots = max((operand.dim() - len(term.replace("...", "")) for operand, term in _pairs(operands, terms)), default=0)
    for operand, term in _pairs(operands, terms):
        letters = _letters(term, operand.dim() - len(term.replace("...", "")))
        axes = known.get(id(operand))
        for place, letter in enumerate(letters):
            sizes[letter] = max(sizes.get(letter, 1), operand.shape[place])
            if id(operand) not in known:
                continue
            kept.add(letter)
            if axes is not None and (letter not in found or not _known(found[letter])):
                found[letter] = axes[place]
    wanted = _letters(result, dots)
    summed = {letter for letter in kept if letter not in wanted and letter in found and is_placed(found[letter])}
    axes_out = []
    for letter in wanted:
        if letter in found and found[letter].size == sizes[letter]:
            axes_out.append(found[letter])
        else:
            axes_out.append(fresh("?" if letter in kept or summed else "c", sizes[letter]))
    return tuple(axes_out)


def _pairs(operands: Sequence[Any], terms: Sequence[str]) -> list[tuple[Tensor, str]]:
    return list(zip(operands, terms, strict=True))


def _letters(term: str, dots: int) -> list[str]:
    """The letters of a term; what `...` stands for is numbered from the right."""
    before, ellipsis, after = term.partition("...")
    return [*before, *(f"{place}" for place in range(dots, 0, -1) if ellipsis), *after]


def like_any(sources: Sequence[Source], output: Tensor) -> Axes | None:
    """The axes of the operand that has the shape of the output; of several, of the first whose places are known.

    Args:
        sources: operands with their axes.
        output: the result.
    """
    fitting = [axes for tensor, axes in sources if axes is not None and tensor.shape == output.shape]
    return next((axes for axes in fitting if is_map(axes)), next(iter(fitting), None))


def _known(*axes: Axis) -> bool:
    return not any("?" in axis.roles for axis in axes)


def _is_square(matrix: Tensor) -> bool:
    return matrix.shape[-1] == matrix.shape[-2]
