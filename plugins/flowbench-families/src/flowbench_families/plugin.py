"""What this plugin registers; a light module, every ``flowbench list`` imports it."""

from __future__ import annotations

from flowbench.api import DatasetInfo, ModelSpec, Paper, hookimpl

from flowbench_families.diffusion.specs import DIFFUSION

FLOWBENCH_API_VERSION = 2


def _form(*shape: int, levels: int | None = None) -> DatasetInfo:
    return DatasetInfo(
        name="form-" + "x".join(map(str, shape)),
        modality="image" if len(shape) == 3 else "vector",
        event_shape=shape,
        levels=levels,
        num_train=512,
        num_validation=64,
        num_test=64,
    )


_AUTOREGRESSIVE, _GANS = "Autoregressive models", "GANs"

# The last is so small that probabilities are summed up.
_IMAGES = (_form(3, 4, 4, levels=17), _form(3, 1, 2, levels=3))

PIXELCNNPP = ModelSpec(
    name="pixelcnnpp",
    model="flowbench_families.pixelcnnpp.model:PixelCNNPP",
    config="flowbench_families.pixelcnnpp.config:PixelCNNPPConfig",
    modalities=frozenset({"image"}),
    summary="autoregressive over pixels, by mixtures of discretised logistics",
    family=_AUTOREGRESSIVE,
    forms=_IMAGES,
    paper=Paper(
        title=(
            "PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and "
            "Other Modifications"
        ),
        authors="Tim Salimans, Andrej Karpathy, Xi Chen, Diederik P. Kingma",
        year=2017,
        arxiv="1701.05517",
        bibtex="""@inproceedings{salimans2017pixelcnnpp,
  title = {{PixelCNN++}: Improving the {PixelCNN} with Discretized Logistic Mixture Likelihood and
           Other Modifications},
  author = {Salimans, Tim and Karpathy, Andrej and Chen, Xi and Kingma, Diederik P.},
  booktitle = {International Conference on Learning Representations},
  year = {2017},
  eprint = {1701.05517},
  archivePrefix = {arXiv},
}""",
    ),
)

PIXELCNN = ModelSpec(
    name="pixelcnn",
    model="flowbench_families.pixelcnn:PixelCNN",
    config="flowbench_families.pixelcnn:PixelCNNConfig",
    modalities=frozenset({"image"}),
    summary="autoregressive over pixels, by gated convolutions and a softmax over levels; small",
    family=_AUTOREGRESSIVE,
    forms=_IMAGES,
    paper=Paper(
        title="Conditional Image Generation with PixelCNN Decoders",
        authors=(
            "Aaron van den Oord, Nal Kalchbrenner, Oriol Vinyals, Lasse Espeholt, Alex Graves, "
            "Koray Kavukcuoglu"
        ),
        year=2016,
        arxiv="1606.05328",
        bibtex="""@inproceedings{oord2016conditional,
  title = {Conditional Image Generation with {PixelCNN} Decoders},
  author = {van den Oord, Aaron and Kalchbrenner, Nal and Vinyals, Oriol and Espeholt, Lasse and
            Graves, Alex and Kavukcuoglu, Koray},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {29},
  year = {2016},
  eprint = {1606.05328},
  archivePrefix = {arXiv},
}""",
    ),
)

PIXEL_TRANSFORMER = ModelSpec(
    name="pixel-transformer",
    model="flowbench_families.pixel_transformer:PixelTransformer",
    config="flowbench_families.pixel_transformer:PixelTransformerConfig",
    modalities=frozenset({"image"}),
    summary="autoregressive over pixels, by attention to all before and a softmax; small",
    family=_AUTOREGRESSIVE,
    forms=_IMAGES,
    paper=Paper(
        title="Image Transformer",
        authors=(
            "Niki Parmar, Ashish Vaswani, Jakob Uszkoreit, Lukasz Kaiser, Noam Shazeer, "
            "Alexander Ku, Dustin Tran"
        ),
        year=2018,
        arxiv="1802.05751",
        bibtex=r"""@inproceedings{parmar2018image,
  title = {Image Transformer},
  author = {Parmar, Niki and Vaswani, Ashish and Uszkoreit, Jakob and Kaiser, {\L}ukasz and
            Shazeer, Noam and Ku, Alexander and Tran, Dustin},
  booktitle = {International Conference on Machine Learning},
  year = {2018},
  eprint = {1802.05751},
  archivePrefix = {arXiv},
}""",
    ),
)

VAE = ModelSpec(
    name="vae",
    model="flowbench_families.vae.model:VAE",
    config="flowbench_families.vae.config:VAEConfig",
    modalities=frozenset({"image", "vector"}),
    summary="variational autoencoder with layers of latents; posteriors Gaussian or by flows",
    family="Variational autoencoders",
    forms=(*_IMAGES, _form(2)),
    paper=Paper(
        title="Improved Variational Inference with Inverse Autoregressive Flow",
        authors=(
            "Diederik P. Kingma, Tim Salimans, Rafal Jozefowicz, Xi Chen, Ilya Sutskever, "
            "Max Welling"
        ),
        year=2016,
        arxiv="1606.04934",
        bibtex="""@inproceedings{kingma2016improved,
  title = {Improved Variational Inference with Inverse Autoregressive Flow},
  author = {Kingma, Diederik P. and Salimans, Tim and Jozefowicz, Rafal and Chen, Xi and
            Sutskever, Ilya and Welling, Max},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {29},
  year = {2016},
  eprint = {1606.04934},
  archivePrefix = {arXiv},
}""",
    ),
)

DCGAN = ModelSpec(
    name="dcgan",
    model="flowbench_families.gan.model:DCGAN",
    config="flowbench_families.gan.config:DCGANConfig",
    modalities=frozenset({"image"}),
    summary="adversarial networks of convolutions and batch norms; no likelihood",
    family=_GANS,
    forms=(_form(3, 4, 4, levels=17), _form(1, 8, 8, levels=17)),
    paper=Paper(
        title=(
            "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial "
            "Networks"
        ),
        authors="Alec Radford, Luke Metz, Soumith Chintala",
        year=2016,
        arxiv="1511.06434",
        bibtex="""@inproceedings{radford2016unsupervised,
  title = {Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
           Networks},
  author = {Radford, Alec and Metz, Luke and Chintala, Soumith},
  booktitle = {International Conference on Learning Representations},
  year = {2016},
  eprint = {1511.06434},
  archivePrefix = {arXiv},
}""",
    ),
)

WGAN_GP = ModelSpec(
    name="wgan-gp",
    model="flowbench_families.gan.model:WGANGP",
    config="flowbench_families.gan.config:WGANGPConfig",
    modalities=frozenset({"image", "vector"}),
    summary="adversarial networks, the critic held by a gradient penalty; no likelihood",
    family=_GANS,
    forms=(*DCGAN.forms, _form(2)),
    paper=Paper(
        title="Improved Training of Wasserstein GANs",
        authors=(
            "Ishaan Gulrajani, Faruk Ahmed, Martin Arjovsky, Vincent Dumoulin, Aaron Courville"
        ),
        year=2017,
        arxiv="1704.00028",
        bibtex="""@inproceedings{gulrajani2017improved,
  title = {Improved Training of {Wasserstein} {GANs}},
  author = {Gulrajani, Ishaan and Ahmed, Faruk and Arjovsky, Martin and Dumoulin, Vincent and
            Courville, Aaron},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {30},
  year = {2017},
  eprint = {1704.00028},
  archivePrefix = {arXiv},
}""",
    ),
)


@hookimpl
def register_models() -> list[ModelSpec]:
    """The models, by family."""
    return [VAE, PIXELCNN, PIXELCNNPP, PIXEL_TRANSFORMER, *DIFFUSION, DCGAN, WGAN_GP]
