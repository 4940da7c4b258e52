"""Facts of the datasets that flowbench knows but cannot read yet.

They are enough to build and count a paper's model. Published test sets are given as ``num_test``;
where a dataset has only train and validation images (ImageNet, CelebA-HQ), papers report the
likelihood of the latter, so they are the test split here and the harness holds out its own.
"""

from __future__ import annotations

from flowbench.api import DatasetSpec, Paper

_IMAGENET_TERMS = "image-net.org terms of access: non-commercial research and education"
_CELEBA_TERMS = "non-commercial research only, by agreement with MMLAB, CUHK"

_DOWNSAMPLED_IMAGENET = Paper(
    title="A Downsampled Variant of ImageNet as an Alternative to the CIFAR datasets",
    authors="Chrabaszcz, Loshchilov and Hutter",
    year=2017,
    arxiv="1707.08819",
)

MNIST = DatasetSpec(
    name="mnist",
    modality="image",
    event_shape=(1, 28, 28),
    levels=256,
    num_train=60_000,
    num_test=10_000,
    num_classes=10,
    context={"label": ()},
    summary="70,000 handwritten digits of 28x28 pixels",
    licence="CC BY-SA 3.0",
    notes="Grey levels, not binarised.",
    paper=Paper(
        title="Gradient-based learning applied to document recognition",
        authors="LeCun, Bottou, Bengio and Haffner",
        year=1998,
        url="https://doi.org/10.1109/5.726791",
    ),
)

CIFAR10 = DatasetSpec(
    name="cifar10",
    modality="image",
    event_shape=(3, 32, 32),
    levels=256,
    num_train=50_000,
    num_test=10_000,
    num_classes=10,
    context={"label": ()},
    summary="60,000 natural images of 32x32 pixels in ten classes",
    licence="none stated; the authors ask to be cited",
    paper=Paper(
        title="Learning Multiple Layers of Features from Tiny Images",
        authors="Krizhevsky",
        year=2009,
        url="https://www.cs.toronto.edu/~kriz/cifar.html",
    ),
)


def _imagenet(size: int, notes: str, paper: Paper) -> DatasetSpec:
    return DatasetSpec(
        name=f"imagenet{size}",
        modality="image",
        event_shape=(3, size, size),
        levels=256,
        num_train=1_281_167,
        num_test=50_000,
        num_classes=1000,
        context={"label": ()},
        summary=f"ImageNet (ILSVRC 2012) at {size}x{size} pixels",
        licence=_IMAGENET_TERMS,
        notes=notes,
        paper=paper,
    )


_BOX_NOTES = (
    "Down-sampled by Chrabaszcz et al. and distributed by image-net.org. Easier, by about 0.1 "
    "bits/dim, than the PNG files of van den Oord et al. (2016) on which Glow, Flow++ and others "
    "report: never compare the two. The test split is ImageNet's validation set."
)

IMAGENET = [
    _imagenet(32, _BOX_NOTES, _DOWNSAMPLED_IMAGENET),
    _imagenet(64, _BOX_NOTES, _DOWNSAMPLED_IMAGENET),
    _imagenet(
        128,
        "The test split is ImageNet's validation set. There is no standard 128x128 version: the "
        "crop and the filter are fixed when this dataset can be loaded.",
        Paper(
            title="ImageNet Large Scale Visual Recognition Challenge",
            authors="Russakovsky et al.",
            year=2015,
            arxiv="1409.0575",
        ),
    ),
]

CELEBA64 = DatasetSpec(
    name="celeba64",
    modality="image",
    event_shape=(3, 64, 64),
    levels=256,
    num_train=162_770,
    num_validation=19_867,
    num_test=19_962,
    summary="CelebA faces, aligned, cropped to 148x148, at 64x64 pixels and 8 bit",
    licence=_CELEBA_TERMS,
    notes=(
        "Aligned and cropped images; of each the 148x148 square whose top left is at row 40, "
        "column 15, resized bilinearly. The official split. Other crops give other likelihoods."
    ),
    paper=Paper(
        title="Deep Learning Face Attributes in the Wild",
        authors="Liu, Luo, Wang and Tang",
        year=2015,
        arxiv="1411.7766",
    ),
)

CELEBAHQ256 = DatasetSpec(
    name="celebahq256",
    modality="image",
    event_shape=(3, 256, 256),
    levels=32,
    num_train=27_000,
    num_test=3_000,
    summary="CelebA-HQ faces at 256x256 pixels, reduced to 5 bit",
    licence=_CELEBA_TERMS,
    notes=(
        "5 bit (32 levels), as Glow and most flows on this dataset report; the 8-bit data would be "
        "a dataset of their own. The split is that of Glow's records; its 3,000 validation images "
        "are the test split."
    ),
    paper=Paper(
        title="Progressive Growing of GANs for Improved Quality, Stability, and Variation",
        authors="Karras, Aila, Laine and Lehtinen",
        year=2018,
        arxiv="1710.10196",
    ),
)

AFHQ256 = DatasetSpec(
    name="afhq256",
    modality="image",
    event_shape=(3, 256, 256),
    levels=256,
    num_train=14_630,
    num_test=1_500,
    num_classes=3,
    context={"label": ()},
    summary="Animal faces (cat, dog, wild) at 256x256 pixels, version 1",
    licence="CC BY-NC 4.0",
    notes="Version 1 of 2020, down-sampled from 512x512; version 2 is other data.",
    paper=Paper(
        title="StarGAN v2: Diverse Image Synthesis for Multiple Domains",
        authors="Choi, Uh, Yoo and Ha",
        year=2020,
        arxiv="1912.01865",
    ),
)

DOWNLOADED = [MNIST, CIFAR10, *IMAGENET, CELEBA64, CELEBAHQ256, AFHQ256]
