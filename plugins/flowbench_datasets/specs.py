"""Specs of the datasets that need no download."""

from __future__ import annotations

from flowbench.api import ContextInput, DatasetSpec, Paper

_FFJORD = Paper(
    title="FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models",
    authors="Grathwohl et al.",
    year=2019,
    arxiv="1810.01367",
)

DIGITS = DatasetSpec(
    name="digits",
    modality="image",
    event_shape=(1, 8, 8),
    levels=17,
    num_train=1437,
    num_test=360,
    context={"label": ContextInput(shape=(), num_classes=10)},
    load="flowbench_datasets.digits:load",
    sha256="cac370a22aa902560f8740bfda85eb5a5aec6583a303ceae7223077c655766a6",
    summary="1,797 handwritten digits of 8x8 pixels and 17 grey levels",
    licence="CC BY 4.0 (UCI Machine Learning Repository)",
    notes=(
        "The test part of UCI's optical recognition of handwritten digits, as scikit-learn ships "
        "it: a level counts the inked pixels in a block of 4x4. Split by image, not by writer, in "
        "a pinned permutation."
    ),
    paper=Paper(
        title="Optical Recognition of Handwritten Digits",
        authors="Alpaydin and Kaynak",
        year=1998,
        url="https://doi.org/10.24432/C50P49",
    ),
)

NATURAL_PATCHES = DatasetSpec(
    name="natural-patches",
    modality="image",
    event_shape=(3, 32, 32),
    levels=256,
    num_train=3500,
    num_validation=500,
    num_test=182,
    load="flowbench_datasets.natural_patches:load",
    summary="32x32 RGB crops of two photographs; they are not independent images",
    licence="CC BY 2.0 (china.jpg: danielbuechele, flower.jpg: vultilion, both on Flickr)",
    notes=(
        "Crops of the two photographs that scikit-learn ships, not independent images: crops of "
        "one split share objects, light and (in train and validation) pixels, and strips of "
        "different splits touch. Standard errors that treat them as independent are too small. "
        "For trying out colour models without a download; not to be compared with cifar10. The "
        "bytes depend on the JPEG decoder, so the recipe is pinned and not the hash."
    ),
)


def _planar(name: str, summary: str, notes: str, paper: Paper | None = None) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        modality="vector",
        event_shape=(2,),
        levels=None,
        num_train=20_000,
        num_validation=2_000,
        num_test=10_000,
        load=f"flowbench_datasets.planar:load_{name.replace('-', '_')}",
        summary=summary,
        licence="generated",
        notes=notes,
        paper=paper or _FFJORD,
    )


PLANAR = [
    _planar(
        "two-moons",
        "Two interleaving half circles in the plane, with Gaussian noise",
        "The true density's nll is its entropy, 2.394 nats.",
    ),
    _planar(
        "checkerboard",
        "The uniform distribution on eight squares of a checkerboard",
        "The true density's nll is its entropy, ln 32 = 3.466 nats.",
    ),
    _planar(
        "eight-gaussians",
        "Eight equal Gaussians on a circle",
        "The true density's nll is its entropy, 2.832 nats.",
    ),
    _planar(
        "pinwheel",
        "Five Gaussian arms bent into a pinwheel",
        "No closed form is known for its entropy.",
        Paper(
            title=(
                "Composing graphical models with neural networks for structured representations "
                "and fast inference"
            ),
            authors="Johnson et al.",
            year=2016,
            arxiv="1603.06277",
        ),
    ),
]

SHIPPED = [DIGITS, NATURAL_PATCHES, *PLANAR]
