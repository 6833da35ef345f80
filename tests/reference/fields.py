"""Receptive fields by a plain loop over images, and radii by counting pixels; shares no code with the package."""

import math
import statistics

import torch


def field_of(centre_of, images):
    """Mean over images of |d centre / d pixel| summed over colours; `centre_of` takes one image to a number."""
    total = torch.zeros(images.shape[-2:], dtype=torch.float64)
    for image in images:
        variable = image[None].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(centre_of(variable), variable)
        for colour in gradient[0]:
            total += colour.abs()
    return total / len(images)


def centre(field):
    """Row and column of the centre of mass."""
    height, width = len(field), len(field[0])
    total = math.fsum(float(value) for row in field for value in row)
    row = math.fsum(y * float(field[y][x]) for y in range(height) for x in range(width)) / total
    column = math.fsum(x * float(field[y][x]) for y in range(height) for x in range(width)) / total
    return row, column


def radius(field, share):
    """Between the last distance within which less than the share lies and the next one, in a straight line."""
    row, column = centre(field)
    rings = {}
    for y in range(len(field)):
        for x in range(len(field[0])):
            if not field[y][x]:
                continue
            distance = round(math.sqrt((y - row) ** 2 + (x - column) ** 2), 9)
            rings[distance] = rings.get(distance, 0.0) + float(field[y][x])
    wanted = share * math.fsum(rings.values())
    held, before = 0.0, None
    for distance in sorted(rings):
        inside = held + rings[distance]
        if inside >= wanted:
            if before is None:
                return distance
            return before + (wanted - held) / (inside - held) * (distance - before)
        held, before = inside, distance
    raise AssertionError("a share below 1 is always held")


def error(groups, share):
    """Of the radius of the sum, leaving one group out at a time."""
    count = len(groups)
    values = []
    for left_out in range(count):
        rest = sum(group for place, group in enumerate(groups) if place != left_out)
        values.append(radius(rest, share))
    mean = statistics.fmean(values)
    return math.sqrt((count - 1) / count * math.fsum((value - mean) ** 2 for value in values))
