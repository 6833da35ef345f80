"""Pixel accuracy and mean IoU with loops and fractions, for tests of their fast forms."""

from fractions import Fraction

IGNORED = 255


def slow_confusions(predicted, masks, classes):
    found = []
    for image, mask in zip(predicted.tolist(), masks.tolist(), strict=True):
        matrix = [[0] * classes for _ in range(classes)]
        for row, true_row in zip(image, mask, strict=True):
            for guess, true in zip(row, true_row, strict=True):
                if true != IGNORED:
                    matrix[true][guess] += 1
        found.append(matrix)
    return found


def slow_pixel_accuracy(matrices):
    shares = []
    for matrix in matrices:
        right = sum(matrix[place][place] for place in range(len(matrix)))
        shares.append(Fraction(right, sum(map(sum, matrix))))
    return float(sum(shares) / len(shares))


def slow_mean_iou(matrices):
    classes, shares = len(matrices[0]), []
    for one in range(classes):
        right = sum(matrix[one][one] for matrix in matrices)
        true = sum(sum(matrix[one]) for matrix in matrices)
        guessed = sum(row[one] for matrix in matrices for row in matrix)
        if true + guessed:
            shares.append(Fraction(right, true + guessed - right))
    return float(sum(shares) / len(shares))
