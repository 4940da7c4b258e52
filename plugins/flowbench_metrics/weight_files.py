"""The published weights of feature extractors. A light module: specs name these files."""

from __future__ import annotations

from flowbench.api import RemoteFile

INCEPTION = RemoteFile(
    name="weights-inception-2015-12-05-6726825d.pth",
    url=(
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
        "weights-inception-2015-12-05-6726825d.pth"
    ),
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    size_bytes=95_628_359,
)
"""TensorFlow's Inception-v3 of 2015-12-05, the network of FID, as torch-fidelity converted it."""

VGG16 = RemoteFile(
    name="vgg16-397923af.pth",
    url="https://download.pytorch.org/models/vgg16-397923af.pth",
    sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
)
"""VGG-16 trained on ImageNet, as torchvision publishes it."""

CLIP = RemoteFile(
    name="ViT-B-32.pt",
    url=(
        "https://openaipublic.azureedge.net/clip/models/"
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt"
    ),
    sha256="40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
)
"""CLIP ViT-B/32, as OpenAI publishes it."""

DINOV2 = RemoteFile(
    name="dinov2_vitl14_pretrain.pth",
    url="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
)
"""DINOv2 ViT-L/14; its publisher states no hash."""
