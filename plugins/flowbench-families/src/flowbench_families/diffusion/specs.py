"""The specs of diffusion models; a light module, as that of all models is."""

from __future__ import annotations

from flowbench.api import DatasetInfo, ModelSpec, Paper

_FAMILY = "Diffusion models"

# So small that probabilities are summed up; halved once, it is one pixel.
_FORMS = (
    DatasetInfo(
        name="form-1x2x2",
        modality="image",
        event_shape=(1, 2, 2),
        levels=3,
        num_train=512,
        num_validation=64,
        num_test=64,
    ),
)

DDPM = ModelSpec(
    name="ddpm",
    model="flowbench_families.diffusion.ddpm:DDPM",
    config="flowbench_families.diffusion.ddpm:DDPMConfig",
    modalities=frozenset({"image"}),
    summary="diffusion in steps, whose noise a U-Net predicts",
    family=_FAMILY,
    forms=_FORMS,
    paper=Paper(
        title="Denoising Diffusion Probabilistic Models",
        authors="Jonathan Ho, Ajay Jain, Pieter Abbeel",
        year=2020,
        arxiv="2006.11239",
        bibtex="""@inproceedings{ho2020denoising,
  title = {Denoising Diffusion Probabilistic Models},
  author = {Ho, Jonathan and Jain, Ajay and Abbeel, Pieter},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {33},
  year = {2020},
  eprint = {2006.11239},
  archivePrefix = {arXiv},
}""",
    ),
)

IDDPM = ModelSpec(
    name="iddpm",
    model="flowbench_families.diffusion.iddpm:IDDPM",
    config="flowbench_families.diffusion.iddpm:IDDPMConfig",
    modalities=frozenset({"image"}),
    summary="diffusion in steps of learned variance, trained by its bound",
    family=_FAMILY,
    forms=_FORMS,
    paper=Paper(
        title="Improved Denoising Diffusion Probabilistic Models",
        authors="Alex Nichol, Prafulla Dhariwal",
        year=2021,
        arxiv="2102.09672",
        bibtex="""@inproceedings{nichol2021improved,
  title = {Improved Denoising Diffusion Probabilistic Models},
  author = {Nichol, Alex and Dhariwal, Prafulla},
  booktitle = {International Conference on Machine Learning},
  year = {2021},
  eprint = {2102.09672},
  archivePrefix = {arXiv},
}""",
    ),
)

VDM = ModelSpec(
    name="vdm",
    model="flowbench_families.diffusion.vdm:VDM",
    config="flowbench_families.diffusion.vdm:VDMConfig",
    modalities=frozenset({"image"}),
    summary="diffusion in continuous time, trained by its bound with its noise schedule",
    family=_FAMILY,
    forms=_FORMS,
    paper=Paper(
        title="Variational Diffusion Models",
        authors="Diederik P. Kingma, Tim Salimans, Ben Poole, Jonathan Ho",
        year=2021,
        arxiv="2107.00630",
        bibtex="""@inproceedings{kingma2021variational,
  title = {Variational Diffusion Models},
  author = {Kingma, Diederik P. and Salimans, Tim and Poole, Ben and Ho, Jonathan},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {34},
  year = {2021},
  eprint = {2107.00630},
  archivePrefix = {arXiv},
}""",
    ),
)

DDPMPP = ModelSpec(
    name="ddpmpp",
    model="flowbench_families.diffusion.ddpmpp:DDPMPP",
    config="flowbench_families.diffusion.ddpmpp:DDPMPPConfig",
    modalities=frozenset({"image"}),
    summary="score-based diffusion along a differential equation that keeps the variance",
    family=_FAMILY,
    forms=_FORMS,
    paper=Paper(
        title="Score-Based Generative Modeling through Stochastic Differential Equations",
        authors=(
            "Yang Song, Jascha Sohl-Dickstein, Diederik P. Kingma, Abhishek Kumar, Stefano Ermon, "
            "Ben Poole"
        ),
        year=2021,
        arxiv="2011.13456",
        bibtex="""@inproceedings{song2021score,
  title = {Score-Based Generative Modeling through Stochastic Differential Equations},
  author = {Song, Yang and Sohl-Dickstein, Jascha and Kingma, Diederik P. and Kumar, Abhishek and
            Ermon, Stefano and Poole, Ben},
  booktitle = {International Conference on Learning Representations},
  year = {2021},
  eprint = {2011.13456},
  archivePrefix = {arXiv},
}""",
    ),
)

EDM = ModelSpec(
    name="edm",
    model="flowbench_families.diffusion.edm:EDM",
    config="flowbench_families.diffusion.edm:EDMConfig",
    modalities=frozenset({"image"}),
    summary="diffusion whose network has inputs and targets of one scale, and few steps",
    family=_FAMILY,
    forms=_FORMS,
    paper=Paper(
        title="Elucidating the Design Space of Diffusion-Based Generative Models",
        authors="Tero Karras, Miika Aittala, Timo Aila, Samuli Laine",
        year=2022,
        arxiv="2206.00364",
        bibtex="""@inproceedings{karras2022elucidating,
  title = {Elucidating the Design Space of Diffusion-Based Generative Models},
  author = {Karras, Tero and Aittala, Miika and Aila, Timo and Laine, Samuli},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {35},
  year = {2022},
  eprint = {2206.00364},
  archivePrefix = {arXiv},
}""",
    ),
)

DIFFUSION = [DDPM, IDDPM, VDM, DDPMPP, EDM]
