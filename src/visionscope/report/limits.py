"""What the numbers of a page can and can't tell: of each diagnostic, and of all of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

_FEW_IMAGES = 100

_CAVEATS: dict[str, tuple[str, ...]] = {
    "fourier": (
        "High-frequency amplitude is measured relative to the mean of each map (frequency zero). A block that "
        "only shifts that mean moves the number as well.",
    ),
    "similarity": (
        "Points of one stage are also close in depth, which alone makes them alike; CKA does not say which of "
        "two representations is the better one.",
    ),
    "hessian": (
        "Eigenvalues depend on how a network is parametrized: where a normalisation follows a layer, scaling its "
        "weights changes every eigenvalue and not the function. Compare networks whose weights were trained alike.",
        "NEP and APE count the few eigenvalues of largest magnitude of mini-batches of 16 images. They are not the "
        "share of negative directions of the whole Hessian, and other sizes of mini-batches give other numbers.",
    ),
    "density": (
        "The density knows where many eigenvalues lie, not single ones: its peaks are as wide as the stated standard "
        "deviation, and its smallest masses rest on a few random vectors.",
    ),
    "landscape": (
        "A step of filter-normalized directions is as long as the filters themselves: networks with large weights "
        "take larger steps, and those of different size move in spaces of different dimension. A landscape is a cut "
        "of two dimensions: what lies beside it is not seen.",
        "L2 is a plain bowl around any network. Where it makes most of NLL + L2, that surface says little of the "
        "network: look at the NLL.",
    ),
    "lesion": (
        "A unit is taken out of a trained network and nothing is trained again: the later layers get features that "
        "they have never seen. A large loss says that they rely on the unit, not that a network trained without it "
        "would do worse.",
        "Units of different kind hold different shares of the parameters and the work; losses of single removals do "
        "not add up.",
    ),
    "frequency_noise": (
        "A network is asked about noise that it was not trained on; how much depends on the strength, on the space "
        "that the noise is added in and on the size of the images, which the table states. At equal eps a ring of "
        "higher frequencies is larger and holds more noise energy; only equal energy compares frequencies with each "
        "other. Networks that normalise differently get noise of different strength in pixels (eps_in_pixels) and are "
        "not compared; noise that is added to pixels (--frequency_noise.space pixel) is the same for all.",
    ),
    "fourier_heatmap": (
        "Each place is one Fourier basis vector of fixed norm, added to every image: a picture of which directions "
        "hurt at that strength, from few images. Single places have wide intervals; look at regions.",
    ),
    "corruption": (
        "Mean accuracy over types and severities, the paper's robustness, is not the mean corruption error (mCE) of "
        "the literature. Only the published image sets compare with published numbers: corruptions made on the fly "
        "follow the same recipes with other code, and other parameters in part.",
    ),
    "adversarial": (
        "An attack that fails proves nothing: accuracy under FGSM or PGD is an upper bound of the accuracy that the "
        "best attack of this strength leaves. A network whose gradients are hard to follow looks safer than it is.",
    ),
    "calibration": (
        "Confidence is compared with accuracy on images of this data alone; on other data a network may be "
        "calibrated otherwise. ECE depends on its bins, and is above zero by chance even for a perfectly calibrated "
        "network: the fewer the images, the more.",
        "Temperature scaling is fitted on images that the measures don't see; it changes no decision.",
    ),
    "fit": (
        "Training loss is measured on augmented images, with the network as it is at test time. All networks see the "
        "augmentation that the caption names; one that was trained under another is at a disadvantage. A few networks "
        "make an ordering, not a law: they differ in more than in how well they fit.",
    ),
    "shape_bias": (
        "Only decisions for the shape or for the texture count; a network that answers neither most of the time has a "
        "shape bias of few images. The share depends on how the images were made: numbers of one set do not compare "
        "with another's.",
    ),
    "attention": (
        "Attention weights say where values come from, not which of them change the outcome. Windows and coarse "
        "grids limit how far, and how finely, a head can look: compare with what looking everywhere alike would give.",
    ),
}
_CAVEATS["similarity_between"] = _CAVEATS["similarity"]


def caveats_of(name: str) -> tuple[str, ...]:
    """What the numbers of a diagnostic can't tell.

    Args:
        name: of the diagnostic.
    """
    return _CAVEATS.get(name, ())


def has_random_weights(jobs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether any model of the run was never trained.

    Args:
        jobs: the runs' `job.json` dicts.
    """
    return any(str(job["model"]["weights"]).startswith("random") for job in jobs)


def caveats(tables: Mapping[str, pa.Table], jobs: Sequence[Mapping[str, Any]], told: Sequence[str] = ()) -> list[str]:
    """What the numbers of this very run can and can't tell.

    Args:
        tables: result rows by diagnostic.
        jobs: the runs' `job.json` dicts.
        told: the diagnostics whose own limits are said elsewhere.
    """
    said = [
        "An interval says how far a number would move with other images of the same kind. It knows nothing of other "
        "training runs: one network is one sample. Of 20 intervals that truly hold zero, one misses it by chance.",
    ]
    if any(name in tables for name in ("fourier", "variance", "similarity")):
        said.insert(
            0,
            "Compare changes inside one network. Absolute values depend on the width, the normalisation and the size "
            "of the grid: between networks, and across a change of grid, they don't compare.",
        )
    if any(name in tables for name in ("fourier", "variance")):
        said.append(
            "A median over points says what the middle one of a kind's blocks does: no single block makes it. Its "
            "interval holds the median that many more images would give, however the blocks depend on each other; it "
            "says nothing of blocks that the network does not have."
        )
    if any("p_holm" in table.column_names for table in tables.values()):
        said.append(
            "Accuracy is compared image by image (McNemar's test), and where many conditions are tested at once p is "
            "raised for it (Holm's rule): grey is what chance alone could do. It does not mean that there is nothing, "
            "only that these images don't show it."
        )
    apart = dict.fromkeys(
        text for name, texts in _CAVEATS.items() if name in tables and name not in told for text in texts
    )
    said += apart
    if has_random_weights(jobs):
        said.append("Models with random weights show what the architecture does before it has learned anything.")
    images = [int(job["data"]["images"]) for job in jobs]
    if images and min(images) < _FEW_IMAGES:
        said.append(f"{min(images)} images are few: intervals are wide, and rare kinds of image are missing.")
    return [*said, *_without_number(tables)]


def _without_number(tables: Mapping[str, pa.Table]) -> list[str]:
    said = []
    for name, table in tables.items():
        if not {"note", "point"} <= set(table.column_names) or not table.num_rows:
            continue
        rows = zip(*(table.column(key).to_pylist() for key in ("model", "point", "note")), strict=True)
        noted = {(model, point) for model, point, note in rows if note}
        if noted:
            points = "1 point has" if len(noted) == 1 else f"{len(noted)} points have"
            reasons = sorted({note for note in table.column("note").to_pylist() if note})
            said.append(f"{name}: {points} no number ({'; '.join(reasons)}).")
    return said
