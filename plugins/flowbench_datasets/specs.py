"""Specs of the datasets that need no download."""

from __future__ import annotations

import math

from flowbench.api import ContextInput, DatasetSpec, Paper, Target

_FFJORD = Paper(
    title="FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models",
    authors="Grathwohl et al.",
    year=2019,
    arxiv="1810.01367",
)

_VARIATIONAL_INFERENCE = Paper(
    title="Variational Inference with Normalizing Flows",
    authors="Rezende and Mohamed",
    year=2015,
    arxiv="1505.05770",
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


BREAST_CANCER = DatasetSpec(
    name="breast-cancer",
    modality="vector",
    event_shape=(30,),
    levels=None,
    num_train=455,
    num_test=114,
    context={"label": ContextInput(shape=(), num_classes=2)},
    load="flowbench_datasets.breast_cancer:load",
    sha256="ffcfbc2255212f68d9ec8b83f6d38671120a3d7638ba9e357b980b9d3ad66ea4",
    summary="569 samples of breast tissue, 30 measurements of their cell nuclei",
    licence="CC BY 4.0 (UCI Machine Learning Repository)",
    notes=(
        "Very small: 455 training rows for 30 columns, many of which nearly determine one another, "
        "and 114 test rows, so that a mean log-likelihood is known to within a nat or two. Flows "
        "overfit it in seconds. Six columns are 0 in 13 rows. The largest table of real values "
        "that scikit-learn ships, for trying out tables without a download. In its own units: nll "
        "depends on them, differences between models do not."
    ),
    paper=Paper(
        title="Nuclear feature extraction for breast tumor diagnosis",
        authors="Street, Wolberg and Mangasarian",
        year=1993,
        url="https://doi.org/10.24432/C5DW2B",
    ),
)


def _planar(
    name: str,
    summary: str,
    notes: str,
    paper: Paper | None = None,
    num_classes: int | None = None,
) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        modality="vector",
        event_shape=(2,),
        levels=None,
        num_train=20_000,
        num_validation=2_000,
        num_test=10_000,
        context={"label": ContextInput(shape=(), num_classes=num_classes)} if num_classes else {},
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
        "The true density's nll is its entropy, 2.394 nats. The label is an example's half circle; "
        "given it, the nll is at most ln 2 less.",
        num_classes=2,
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


def _target(name: str, summary: str, log_normaliser: float, notes: str) -> DatasetSpec:
    stem = name.removeprefix("target-").replace("-", "_")
    return DatasetSpec(
        name=name,
        modality="vector",
        event_shape=(2,),
        levels=None,
        num_train=20_000,
        num_validation=2_000,
        num_test=10_000,
        target=Target(
            log_density=f"flowbench_datasets.target_densities:{stem}_log_density",
            log_normaliser=log_normaliser,
        ),
        load=f"flowbench_datasets.targets:load_{stem}",
        summary=summary,
        licence="generated",
        notes=f"{notes} Models see the density alone: training points are of a wide Gaussian, to "
        "start from.",
        paper=_VARIATIONAL_INFERENCE,
    )


TARGETS = [
    _target(
        "target-two-modes",
        "An unnormalised density in the plane: two modes on a ring",
        1.8775016261096,
        "Its log-normaliser is 1.8775 nats, by quadrature.",
    ),
    _target(
        "target-eight-gaussians",
        "An unnormalised density in the plane: eight equal Gaussians on a circle",
        math.log(2.0 * math.pi),
        "Its log-normaliser is ln(2 pi) = 1.8379 nats.",
    ),
    _target(
        "target-wave",
        "An unnormalised density in the plane: a Gaussian about a sine",
        math.log(1.6 * math.pi),
        "Its log-normaliser is ln(1.6 pi) = 1.6147 nats.",
    ),
    _target(
        "target-banana",
        "An unnormalised density in the plane: a Gaussian about a parabola",
        math.log(1.5 * math.pi),
        "Its log-normaliser is ln(1.5 pi) = 1.5502 nats.",
    ),
]

PYTHON_TOPICS = DatasetSpec(
    name="python-topics",
    modality="sequence",
    event_shape=(1, 256),
    levels=27,
    num_train=900,
    num_validation=100,
    num_test=100,
    load="flowbench_datasets.text:load_topics",
    render="flowbench_datasets.text:render",
    summary="Python's chapters on its own language in 27 letters, in windows of 256",
    licence="PSF License Version 2 (the documentation of Python)",
    notes=(
        "The text of help(), which comes with Python's standard library (pydoc_data): in lower "
        "case, digits spelt out, all else a space, each paragraph once. It differs a little "
        "between versions of Python, so the recipe is pinned and not the hash. For trying out "
        "models of text without a download; not to be compared with text8."
    ),
)

_DIRECTIONAL = Paper(
    title="Directional Statistics",
    authors="Mardia and Jupp",
    year=2000,
    url="https://doi.org/10.1002/9780470316979",
)


def _on_manifold(
    name: str, loader: str, manifold: str, num_dims: int, summary: str, entropy: str
) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        modality="manifold",
        event_shape=(num_dims,),
        levels=None,
        num_train=10_000,
        num_validation=1_000,
        num_test=5_000,
        load=f"flowbench_datasets.on_manifolds:{loader}",
        manifold=f"flowbench.api.manifolds:{manifold}",
        summary=summary,
        licence="generated, no licence needed",
        notes=(
            "Drawn from a density in closed form, from a pinned seed. The true density has a "
            f"negative log-likelihood of {entropy} nats on the test points, with respect to the "
            "manifold's own volume: no model passes it but by chance."
        ),
        paper=_DIRECTIONAL,
    )


ON_MANIFOLDS = (
    _on_manifold(
        "sphere-mixture", "load_sphere", "SPHERE", 3,
        "four von Mises-Fisher laws on the sphere", "1.233",
    ),
    _on_manifold(
        "torus-mixture", "load_torus", "TORUS", 2,
        "three wrapped normal laws on a torus of two angles", "2.527",
    ),
    _on_manifold(
        "rotation-mixture", "load_rotations", "ROTATIONS", 4,
        "three von Mises-Fisher laws among rotations, as unit quaternions", "0.806",
    ),
)  # fmt: skip

SHIPPED = [DIGITS, NATURAL_PATCHES, BREAST_CANCER, PYTHON_TOPICS, *PLANAR, *ON_MANIFOLDS, *TARGETS]
