"""Specs of the images and texts that are downloaded, or given by the user, and prepared once.

Published test sets are given as ``num_test``; where a dataset has only train and validation images
(ImageNet, CelebA-HQ), papers report the likelihood of the latter, so they are the test split here
and the harness holds out its own.
"""

from __future__ import annotations

from dataclasses import replace

from flowbench.api import ContextInput, DatasetSpec, Paper, RemoteFile
from flowbench_datasets import published_files as published

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
    context={"label": ContextInput(shape=(), num_classes=10)},
    convert="flowbench_datasets.idx:convert",
    files=published.MNIST,
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

FASHION_MNIST = DatasetSpec(
    name="fashion-mnist",
    modality="image",
    event_shape=(1, 28, 28),
    levels=256,
    num_train=60_000,
    num_test=10_000,
    context={"label": ContextInput(shape=(), num_classes=10)},
    convert="flowbench_datasets.idx:convert",
    files=published.FASHION_MNIST,
    sha256="388e1009a295e9fd8098e408fbbc23f610c49ac827088d38a296b88845b81b70",
    summary="70,000 grey images of clothing of 28x28 pixels",
    licence="MIT",
    notes="Grey levels. Debian's package dataset-fashion-mnist holds the same data.",
    paper=Paper(
        title="Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
        authors="Xiao, Rasul and Vollgraf",
        year=2017,
        arxiv="1708.07747",
    ),
)

CIFAR10 = DatasetSpec(
    name="cifar10",
    modality="image",
    event_shape=(3, 32, 32),
    levels=256,
    num_train=50_000,
    num_test=10_000,
    context={"label": ContextInput(shape=(), num_classes=10)},
    convert="flowbench_datasets.cifar:convert",
    files=published.CIFAR10,
    summary="60,000 natural images of 32x32 pixels in ten classes",
    licence="none stated; the authors ask to be cited",
    notes="Training images whose bytes are also in the test split are left out of train.",
    paper=Paper(
        title="Learning Multiple Layers of Features from Tiny Images",
        authors="Krizhevsky",
        year=2009,
        url="https://www.cs.toronto.edu/~kriz/cifar.html",
    ),
)

SVHN = DatasetSpec(
    name="svhn",
    modality="image",
    event_shape=(3, 32, 32),
    levels=256,
    num_train=73_257,
    num_test=26_032,
    context={"label": ContextInput(shape=(), num_classes=10)},
    convert="flowbench_datasets.svhn:convert",
    files=published.SVHN,
    summary="99,289 cropped house numbers of 32x32 pixels",
    licence="non-commercial use only",
    notes="Format 2, cropped digits; without the 531,131 extra images. Label 0 is the digit 0.",
    paper=Paper(
        title="Reading Digits in Natural Images with Unsupervised Feature Learning",
        authors="Netzer et al.",
        year=2011,
        url="http://ufldl.stanford.edu/housenumbers/",
    ),
)


def _imagenet(
    size: int, notes: str, paper: Paper, convert: str, files: tuple[RemoteFile, ...], how_to: str
) -> DatasetSpec:
    return DatasetSpec(
        name=f"imagenet{size}",
        modality="image",
        event_shape=(3, size, size),
        levels=256,
        num_train=1_281_167,
        num_test=50_000,
        context={"label": ContextInput(shape=(), num_classes=1000)},
        convert=f"flowbench_datasets.imagenet:{convert}",
        files=files,
        how_to=how_to,
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

_BOX_HOW_TO = (
    "log in at https://image-net.org/download-images, accept the terms and take the npz archives "
    "of the downsampled image data"
)

IMAGENET = [
    _imagenet(
        32,
        _BOX_NOTES,
        _DOWNSAMPLED_IMAGENET,
        "convert_arrays",
        published.IMAGENET32,
        _BOX_HOW_TO,
    ),
    _imagenet(
        64,
        _BOX_NOTES,
        _DOWNSAMPLED_IMAGENET,
        "convert_arrays",
        published.IMAGENET64,
        _BOX_HOW_TO,
    ),
    _imagenet(
        128,
        "The test split is ImageNet's validation set. There is no standard 128x128 version; here "
        "it is the middle square of each image, scaled down bilinearly with antialiasing (Pillow), "
        "so the bytes depend a little on the JPEG decoder.",
        Paper(
            title="ImageNet Large Scale Visual Recognition Challenge",
            authors="Russakovsky et al.",
            year=2015,
            arxiv="1409.0575",
        ),
        "convert_original",
        (RemoteFile(name="train.zip"), RemoteFile(name="val.zip")),
        "log in at https://image-net.org/download-images, accept the terms, take ILSVRC 2012 and "
        "sort it into train/<WordNet id>/*.JPEG and val/<WordNet id>/*.JPEG",
    ),
]


def _pixelrnn(size: int, files: tuple[RemoteFile, ...]) -> DatasetSpec:
    return DatasetSpec(
        name=f"imagenet{size}-pixelrnn",
        modality="image",
        event_shape=(3, size, size),
        levels=256,
        num_train=1_281_149,
        num_test=49_999,
        convert=f"flowbench_datasets.imagenet:convert_pngs{size}",
        files=files,
        how_to=(
            "image-net.org no longer serves these archives of PNG files; get a copy that was kept, "
            "e.g. from Academic Torrents (Downsampled ImageNet)"
        ),
        summary=f"ImageNet at {size}x{size} pixels as van den Oord et al. down-sampled it",
        licence=_IMAGENET_TERMS,
        notes=(
            "The PNG files on which most flows up to 2022 report. Harder, by about 0.1 bits/dim, "
            f"than imagenet{size}: never compare the two. The test split is ImageNet's validation "
            "set; 18 training images and one of the others are missing, as published. No labels."
        ),
        paper=Paper(
            title="Pixel Recurrent Neural Networks",
            authors="van den Oord, Kalchbrenner and Kavukcuoglu",
            year=2016,
            arxiv="1601.06759",
        ),
    )


PIXELRNN = [_pixelrnn(32, published.PIXELRNN32), _pixelrnn(64, published.PIXELRNN64)]

_CELEBA_HOW_TO = (
    "get them from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (Align&Cropped Images, and "
    "Train/Val/Test Partitions)"
)

CELEBA64 = DatasetSpec(
    name="celeba64-crop148-8bit",
    modality="image",
    event_shape=(3, 64, 64),
    levels=256,
    num_train=162_770,
    num_validation=19_867,
    num_test=19_962,
    convert="flowbench_datasets.celeba:convert",
    files=published.CELEBA,
    collection="celeba",
    how_to=_CELEBA_HOW_TO,
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

CELEBA64_5BIT = replace(
    CELEBA64,
    name="celeba64-crop148-5bit",
    levels=32,
    convert="flowbench_datasets.celeba:convert_5bit",
    summary="CelebA faces, aligned, cropped to 148x148, at 64x64 pixels and 5 bit",
    notes=f"{CELEBA64.notes} Of each value the 5 leading bits (32 levels).",
)

CELEBAHQ256 = DatasetSpec(
    name="celebahq256",
    modality="image",
    event_shape=(3, 256, 256),
    levels=32,
    num_train=27_000,
    num_test=3_000,
    convert="flowbench_datasets.celeba:convert_hq",
    files=(RemoteFile(name="train.zip"), RemoteFile(name="validation.zip")),
    how_to=(
        "take the 256x256 images of Glow's records (celeba-tfr, r08) as PNG files into train/ and "
        "validation/"
    ),
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
    context={"label": ContextInput(shape=(), num_classes=3)},
    convert="flowbench_datasets.afhq:convert",
    files=published.AFHQ,
    summary="Animal faces (cat, dog, wild) at 256x256 pixels, version 1",
    licence="CC BY-NC 4.0",
    notes=(
        "Version 1 of 2020, scaled down bilinearly with antialiasing from 512x512; version 2 is "
        "other data."
    ),
    paper=Paper(
        title="StarGAN v2: Diverse Image Synthesis for Multiple Domains",
        authors="Choi, Uh, Yoo and Ha",
        year=2020,
        arxiv="1912.01865",
    ),
)

TEXT8 = DatasetSpec(
    name="text8",
    modality="sequence",
    event_shape=(1, 256),
    levels=27,
    num_train=351_562,
    num_validation=19_531,
    num_test=19_531,
    convert="flowbench_datasets.text:convert_text8",
    render="flowbench_datasets.text:render",
    files=published.TEXT8,
    summary="100 million characters of Wikipedia in 27 letters, in windows of 256",
    licence="GFDL (Wikipedia, 2006)",
    notes=(
        "The usual split: 90 million characters to train, the next 5 million to validate, the last "
        "5 million to test. Windows do not overlap; each is measured by itself, so that its first "
        "characters have no context: published values of longer contexts are lower for that alone. "
        "Bits per dimension are bits per character."
    ),
    paper=Paper(
        title="Large Text Compression Benchmark",
        authors="Mahoney",
        year=2006,
        url="https://mattmahoney.net/dc/textdata.html",
    ),
)


def _earth(event: str, num: int, summary: str, source: str) -> DatasetSpec:
    part = num // 10
    return DatasetSpec(
        name=f"earth-{event}",
        modality="manifold",
        event_shape=(3,),
        levels=None,
        num_train=num - 2 * part,
        num_validation=part,
        num_test=part,
        convert="flowbench_datasets.on_manifolds:convert_earth",
        files=published.EARTH[event],
        manifold="flowbench.api.manifolds:SPHERE",
        summary=summary,
        licence=f"terms of {source}",
        notes=(
            "Latitudes and longitudes of Mathieu and Nickel (2020), as De Bortoli et al. (2022) "
            "keep them, as unit vectors. Split 8 to 1 to 1 in a permutation of our own: papers "
            "average over several splits, so that one value is not theirs. A place where events "
            "repeat stays in one split alone, and papers have it in all: of volcanoes, for one, "
            "their values are lower by much."
        ),
        paper=Paper(
            title="Riemannian Continuous Normalizing Flows",
            authors="Mathieu and Nickel",
            year=2020,
            arxiv="2006.10605",
        ),
    )


EARTH = (
    _earth("volcano", 827, "827 volcanic eruptions on the sphere", "NOAA"),
    _earth("earthquake", 6_120, "6,120 earthquakes on the sphere", "NOAA"),
    _earth("flood", 4_875, "4,875 floods on the sphere", "the Dartmouth Flood Observatory"),
    _earth("fire", 12_809, "12,809 wildfires on the sphere", "NASA EOSDIS"),
)

DOWNLOADED = [
    MNIST,
    FASHION_MNIST,
    CIFAR10,
    SVHN,
    *IMAGENET,
    *PIXELRNN,
    CELEBA64,
    CELEBA64_5BIT,
    CELEBAHQ256,
    AFHQ256,
    TEXT8,
    *EARTH,
]
