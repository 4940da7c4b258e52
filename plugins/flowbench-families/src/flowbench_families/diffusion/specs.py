"""The specs of diffusion models; a light module, as that of all models is."""

from __future__ import annotations

from flowbench.api import DatasetInfo, ModelSpec, Paper

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

DIFFUSION = [DDPM, IDDPM]
