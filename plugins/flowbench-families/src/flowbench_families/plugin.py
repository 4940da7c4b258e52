"""What this plugin registers; a light module, every ``flowbench list`` imports it."""

from __future__ import annotations

from flowbench.api import DatasetInfo, ModelSpec, Paper, hookimpl

from flowbench_families.diffusion.specs import DIFFUSION

FLOWBENCH_API_VERSION = 2


def _form(*shape: int, levels: int) -> DatasetInfo:
    return DatasetInfo(
        name="form-" + "x".join(map(str, shape)),
        modality="image",
        event_shape=shape,
        levels=levels,
        num_train=512,
        num_validation=64,
        num_test=64,
    )


# The last is so small that probabilities are summed up.
_IMAGES = (_form(3, 4, 4, levels=17), _form(3, 1, 2, levels=3))

PIXELCNNPP = ModelSpec(
    name="pixelcnnpp",
    model="flowbench_families.pixelcnnpp.model:PixelCNNPP",
    config="flowbench_families.pixelcnnpp.config:PixelCNNPPConfig",
    modalities=frozenset({"image"}),
    summary="autoregressive over pixels, by mixtures of discretised logistics",
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


@hookimpl
def register_models() -> list[ModelSpec]:
    """The models, by family."""
    return [PIXELCNN, PIXELCNNPP, *DIFFUSION]
