"""The models that ship with flowbench, as `flowbench list` shows them; imports no torch."""

from __future__ import annotations

from dataclasses import replace

from flowbench.api import ContextInput, DatasetInfo, ModelSpec, Paper, hookimpl
from flowbench.api.specs import Modality

FLOWBENCH_API_VERSION = 2

_MODALITIES: dict[int, Modality] = {1: "vector", 2: "audio", 3: "image"}


def _form(*shape: int, levels: int | None = None, modality: Modality | None = None) -> DatasetInfo:
    return DatasetInfo(
        name="form-" + "x".join(map(str, shape)),
        modality=modality or _MODALITIES[len(shape)],
        event_shape=shape,
        levels=levels,
        num_train=512,
        num_validation=64,
        num_test=64,
    )


def _on(manifold: str, num_dims: int) -> DatasetInfo:
    """The form of points on a manifold."""
    reference = f"flowbench.api.manifolds:{manifold}"
    return replace(_form(num_dims, modality="manifold"), manifold=reference)


# What boards call them, where there are others beside them.
_FLOWS, _MATCHING = "Normalizing flows", "Flow matching"
_AUTOREGRESSIVE, _BASELINES = "Autoregressive models", "Baselines"

# Going element by element, their samples of the contract's own 8x8 images would take a minute.
_ELEMENT_BY_ELEMENT = (_form(2), _form(5), _form(1, 4, 4, levels=17))

# A solve costs a hundred passes: sums of densities are those of points in the plane, traces of
# images are estimates.
_SOLVED = (_form(1, 6, 6, levels=17), _form(2))

# Series of log-determinants cost many passes: small forms, of every kind of likelihood.
_SMALL = (_form(2), _form(1, 4, 4, levels=17), _form(3, 4, 4, levels=256))

# Deep networks, mixtures and inverses that go line by line: what small images show is as much.
_SMALL_IMAGES = (_form(1, 4, 4, levels=17), _form(3, 4, 4, levels=256))

# A pyramid of four levels. Of three channels a contract's noise on every weight makes it so steep
# that float32 holds no latents apart, and less so of three levels.
_PYRAMID = (_form(1, 8, 8, levels=17), _form(3, 4, 4, levels=256))

# Segments of clips with spectrograms, and values so few that their density can be summed up.
_WAVEFORMS = (
    replace(_form(1, 64), ragged=True, context={"mel": ContextInput(shape=(8, 4), stride=16)}),
    _form(1, 2),
)

NICE = ModelSpec(
    name="nice",
    model="flowbench_models.coupling.nice:NICE",
    config="flowbench_models.coupling.nice:NICEConfig",
    modalities=frozenset({"image", "vector"}),
    summary="additive couplings and one diagonal scaling",
    family=_FLOWS,
    paper=Paper(
        title="NICE: Non-linear Independent Components Estimation",
        authors="Laurent Dinh, David Krueger, Yoshua Bengio",
        year=2014,
        arxiv="1410.8516",
        bibtex="""@inproceedings{dinh2015nice,
  title = {{NICE}: Non-linear Independent Components Estimation},
  author = {Dinh, Laurent and Krueger, David and Bengio, Yoshua},
  booktitle = {International Conference on Learning Representations, Workshop Track},
  year = {2015},
  eprint = {1410.8516},
  archivePrefix = {arXiv},
}""",
    ),
)

REALNVP = ModelSpec(
    name="realnvp",
    model="flowbench_models.coupling.realnvp.model:RealNVP",
    config="flowbench_models.coupling.realnvp.config:RealNVPConfig",
    modalities=frozenset({"image", "vector"}),
    summary="affine couplings over checkerboards and channels, multi-scale",
    family=_FLOWS,
    paper=Paper(
        title="Density estimation using Real NVP",
        authors="Laurent Dinh, Jascha Sohl-Dickstein, Samy Bengio",
        year=2017,
        arxiv="1605.08803",
        bibtex="""@inproceedings{dinh2017density,
  title = {Density estimation using {Real NVP}},
  author = {Dinh, Laurent and Sohl-Dickstein, Jascha and Bengio, Samy},
  booktitle = {International Conference on Learning Representations},
  year = {2017},
  eprint = {1605.08803},
  archivePrefix = {arXiv},
}""",
    ),
)

GLOW = ModelSpec(
    name="glow",
    model="flowbench_models.coupling.glow.model:Glow",
    config="flowbench_models.coupling.glow.config:GlowConfig",
    modalities=frozenset({"image"}),
    summary="actnorm, invertible 1x1 convolutions and affine couplings, multi-scale",
    family=_FLOWS,
    paper=Paper(
        title="Glow: Generative Flow with Invertible 1x1 Convolutions",
        authors="Diederik P. Kingma, Prafulla Dhariwal",
        year=2018,
        arxiv="1807.03039",
        bibtex="""@inproceedings{kingma2018glow,
  title = {Glow: Generative Flow with Invertible 1x1 Convolutions},
  author = {Kingma, Diederik P. and Dhariwal, Prafulla},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {31},
  year = {2018},
  eprint = {1807.03039},
  archivePrefix = {arXiv},
}""",
    ),
)

MADE = ModelSpec(
    name="made",
    model="flowbench_models.autoregressive.maf.model:GaussianMADE",
    config="flowbench_models.autoregressive.maf.config:MADEConfig",
    modalities=frozenset({"image", "vector"}),
    summary="one masked perceptron with Gaussian conditionals",
    family=_AUTOREGRESSIVE,
    forms=_ELEMENT_BY_ELEMENT,
    paper=Paper(
        title="MADE: Masked Autoencoder for Distribution Estimation",
        authors="Mathieu Germain, Karol Gregor, Iain Murray, Hugo Larochelle",
        year=2015,
        arxiv="1502.03509",
        bibtex="""@inproceedings{germain2015made,
  title = {{MADE}: Masked Autoencoder for Distribution Estimation},
  author = {Germain, Mathieu and Gregor, Karol and Murray, Iain and Larochelle, Hugo},
  booktitle = {International Conference on Machine Learning},
  year = {2015},
  eprint = {1502.03509},
  archivePrefix = {arXiv},
}""",
    ),
)

IAF = ModelSpec(
    name="iaf",
    model="flowbench_models.autoregressive.maf.model:IAF",
    config="flowbench_models.autoregressive.maf.config:IAFConfig",
    modalities=frozenset({"image", "vector"}),
    summary="maf with its directions exchanged: fast to sample, slow to score",
    family=_FLOWS,
    forms=_ELEMENT_BY_ELEMENT,
    paper=Paper(
        title="Improved Variational Inference with Inverse Autoregressive Flow",
        authors="Diederik P. Kingma et al.",
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

MAF = ModelSpec(
    name="maf",
    model="flowbench_models.autoregressive.maf.model:MAF",
    config="flowbench_models.autoregressive.maf.config:MAFConfig",
    modalities=frozenset({"image", "vector"}),
    summary="affine autoregressive transforms over masked perceptrons",
    family=_FLOWS,
    forms=_ELEMENT_BY_ELEMENT,
    paper=Paper(
        title="Masked Autoregressive Flow for Density Estimation",
        authors="George Papamakarios, Theo Pavlakou, Iain Murray",
        year=2017,
        arxiv="1705.07057",
        bibtex="""@inproceedings{papamakarios2017masked,
  title = {Masked Autoregressive Flow for Density Estimation},
  author = {Papamakarios, George and Pavlakou, Theo and Murray, Iain},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {30},
  year = {2017},
  eprint = {1705.07057},
  archivePrefix = {arXiv},
}""",
    ),
)

_NEURAL_SPLINE_FLOWS = Paper(
    title="Neural Spline Flows",
    authors="Conor Durkan, Artur Bekasov, Iain Murray, George Papamakarios",
    year=2019,
    arxiv="1906.04032",
    bibtex="""@inproceedings{durkan2019neural,
  title = {Neural Spline Flows},
  author = {Durkan, Conor and Bekasov, Artur and Murray, Iain and Papamakarios, George},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {32},
  year = {2019},
  eprint = {1906.04032},
  archivePrefix = {arXiv},
}""",
)

NSF = ModelSpec(
    name="nsf",
    model="flowbench_models.coupling.nsf:NSF",
    config="flowbench_models.coupling.nsf:NSFConfig",
    modalities=frozenset({"image", "vector"}),
    summary="rational-quadratic splines between LU maps, coupling or autoregressive",
    family=_FLOWS,
    forms=_ELEMENT_BY_ELEMENT,
    paper=_NEURAL_SPLINE_FLOWS,
)

RQNSF = ModelSpec(
    name="rqnsf",
    model="flowbench_models.coupling.rqnsf:RQNSF",
    config="flowbench_models.coupling.rqnsf:RQNSFConfig",
    modalities=frozenset({"image"}),
    summary="rational-quadratic spline couplings between 1x1 convolutions",
    family=_FLOWS,
    paper=_NEURAL_SPLINE_FLOWS,
)

FLOWPP = ModelSpec(
    name="flowpp",
    model="flowbench_models.coupling.flowpp.model:FlowPP",
    config="flowbench_models.coupling.flowpp.config:FlowPPConfig",
    modalities=frozenset({"image"}),
    summary="mixtures of logistics, attention in the couplings, learned dequantization",
    family=_FLOWS,
    forms=_SMALL_IMAGES,
    paper=Paper(
        title=(
            "Flow++: Improving Flow-Based Generative Models with Variational Dequantization and "
            "Architecture Design"
        ),
        authors="Jonathan Ho, Xi Chen, Aravind Srinivas, Yan Duan, Pieter Abbeel",
        year=2019,
        arxiv="1902.00275",
        bibtex="""@inproceedings{ho2019flow,
  title = {{Flow++}: Improving Flow-Based Generative Models with Variational Dequantization and
           Architecture Design},
  author = {Ho, Jonathan and Chen, Xi and Srinivas, Aravind and Duan, Yan and Abbeel, Pieter},
  booktitle = {International Conference on Machine Learning},
  year = {2019},
  eprint = {1902.00275},
  archivePrefix = {arXiv},
}""",
    ),
)

_NANOFLOW_PAPER = Paper(
    title="NanoFlow: Scalable Normalizing Flows with Sublinear Parameter Complexity",
    authors="Sang-gil Lee, Sungwon Kim, Sungroh Yoon",
    year=2020,
    arxiv="2006.06280",
    bibtex="""@inproceedings{lee2020nanoflow,
  title = {{NanoFlow}: Scalable Normalizing Flows with Sublinear Parameter Complexity},
  author = {Lee, Sang-gil and Kim, Sungwon and Yoon, Sungroh},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {33},
  year = {2020},
  eprint = {2006.06280},
  archivePrefix = {arXiv},
}""",
)

NANOFLOW = ModelSpec(
    name="nanoflow",
    model="flowbench_models.coupling.nanoflow.model:NanoFlow",
    config="flowbench_models.coupling.nanoflow.config:NanoFlowConfig",
    modalities=frozenset({"image"}),
    summary="Glow whose steps share one density estimator a scale, told apart by embeddings",
    family=_FLOWS,
    paper=_NANOFLOW_PAPER,
)

WAVEFLOW = ModelSpec(
    name="waveflow",
    model="flowbench_models.autoregressive.waveflow.model:WaveFlow",
    config="flowbench_models.autoregressive.waveflow.config:WaveFlowConfig",
    modalities=frozenset({"audio"}),
    summary="waveforms folded into rows, transformed row by row given a mel spectrogram",
    family=_FLOWS,
    forms=_WAVEFORMS,
    paper=Paper(
        title="WaveFlow: A Compact Flow-based Model for Raw Audio",
        authors="Wei Ping, Kainan Peng, Kexin Zhao, Zhao Song",
        year=2020,
        arxiv="1912.01219",
        bibtex="""@inproceedings{ping2020waveflow,
  title = {{WaveFlow}: A Compact Flow-based Model for Raw Audio},
  author = {Ping, Wei and Peng, Kainan and Zhao, Kexin and Song, Zhao},
  booktitle = {International Conference on Machine Learning},
  year = {2020},
  eprint = {1912.01219},
  archivePrefix = {arXiv},
}""",
    ),
)

NANOFLOW_AUDIO = ModelSpec(
    name="nanoflow-audio",
    model="flowbench_models.autoregressive.waveflow.model:NanoFlowAudio",
    config="flowbench_models.autoregressive.waveflow.config:NanoFlowAudioConfig",
    modalities=frozenset({"audio"}),
    summary="WaveFlow whose flows share one density estimator, told apart by embeddings",
    family=_FLOWS,
    forms=_WAVEFORMS,
    paper=_NANOFLOW_PAPER,
)

MACOW = ModelSpec(
    name="macow",
    model="flowbench_models.autoregressive.macow.model:MaCow",
    config="flowbench_models.autoregressive.macow.config:MaCowConfig",
    modalities=frozenset({"image"}),
    summary="masked convolutions in four directions beside couplings, multi-scale",
    family=_FLOWS,
    forms=_SMALL_IMAGES,
    paper=Paper(
        title="MaCow: Masked Convolutional Generative Flow",
        authors="Xuezhe Ma, Xiang Kong, Shanghang Zhang, Eduard Hovy",
        year=2019,
        arxiv="1902.04208",
        bibtex="""@inproceedings{ma2019macow,
  title = {{MaCow}: Masked Convolutional Generative Flow},
  author = {Ma, Xuezhe and Kong, Xiang and Zhang, Shanghang and Hovy, Eduard},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {32},
  year = {2019},
  eprint = {1902.04208},
  archivePrefix = {arXiv},
}""",
    ),
)

MAR_SCF = ModelSpec(
    name="mar-scf",
    model="flowbench_models.coupling.marscf.model:MARSCF",
    config="flowbench_models.coupling.marscf.config:MARSCFConfig",
    modalities=frozenset({"image"}),
    summary="a multi-scale flow with priors that go channel by channel",
    family=_FLOWS,
    forms=_SMALL_IMAGES,
    paper=Paper(
        title="Normalizing Flows with Multi-Scale Autoregressive Priors",
        authors="Apratim Bhattacharyya, Shweta Mahajan, Mario Fritz, Bernt Schiele, Stefan Roth",
        year=2020,
        arxiv="2004.03891",
        bibtex="""@inproceedings{bhattacharyya2020marscf,
  title = {Normalizing Flows with Multi-Scale Autoregressive Priors},
  author = {Bhattacharyya, Apratim and Mahajan, Shweta and Fritz, Mario and Schiele, Bernt and
            Roth, Stefan},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year = {2020},
  eprint = {2004.03891},
  archivePrefix = {arXiv},
}""",
    ),
)

WAVELET_FLOW = ModelSpec(
    name="wavelet-flow",
    model="flowbench_models.coupling.wavelet_flow:WaveletFlow",
    config="flowbench_models.coupling.wavelet_flow:WaveletFlowConfig",
    modalities=frozenset({"image"}),
    summary="an independent flow for each level of a Haar pyramid",
    family=_FLOWS,
    forms=_PYRAMID,
    paper=Paper(
        title="Wavelet Flow: Fast Training of High Resolution Normalizing Flows",
        authors="Jason J. Yu, Konstantinos G. Derpanis, Marcus A. Brubaker",
        year=2020,
        arxiv="2010.13821",
        bibtex="""@inproceedings{yu2020wavelet,
  title = {Wavelet Flow: Fast Training of High Resolution Normalizing Flows},
  author = {Yu, Jason J. and Derpanis, Konstantinos G. and Brubaker, Marcus A.},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {33},
  year = {2020},
  eprint = {2010.13821},
  archivePrefix = {arXiv},
}""",
    ),
)

VFLOW = ModelSpec(
    name="vflow",
    model="flowbench_models.coupling.vflow:VFlow",
    config="flowbench_models.coupling.vflow:VFlowConfig",
    modalities=frozenset({"image"}),
    summary="flowpp on images with channels of learned noise",
    family=_FLOWS,
    forms=_SMALL_IMAGES,
    paper=Paper(
        title="VFlow: More Expressive Generative Flows with Variational Data Augmentation",
        authors="Jianfei Chen, Cheng Lu, Biqi Chenli, Jun Zhu, Tian Tian",
        year=2020,
        arxiv="2002.09741",
        bibtex="""@inproceedings{chen2020vflow,
  title = {{VFlow}: More Expressive Generative Flows with Variational Data Augmentation},
  author = {Chen, Jianfei and Lu, Cheng and Chenli, Biqi and Zhu, Jun and Tian, Tian},
  booktitle = {International Conference on Machine Learning},
  year = {2020},
  eprint = {2002.09741},
  archivePrefix = {arXiv},
}""",
    ),
)

ANF = ModelSpec(
    name="anf",
    model="flowbench_models.coupling.anf:ANF",
    config="flowbench_models.coupling.anf:ANFConfig",
    modalities=frozenset({"image"}),
    summary="couplings between images and normal noise beside them",
    family=_FLOWS,
    forms=_SMALL_IMAGES,
    paper=Paper(
        title="Augmented Normalizing Flows: Bridging the Gap Between Generative Models and Latent "
        "Variable Models",
        authors="Chin-Wei Huang, Laurent Dinh, Aaron Courville",
        year=2020,
        arxiv="2002.07101",
        bibtex="""@article{huang2020anf,
  title = {Augmented Normalizing Flows: Bridging the Gap Between Generative Models and Latent
           Variable Models},
  author = {Huang, Chin-Wei and Dinh, Laurent and Courville, Aaron},
  journal = {arXiv preprint arXiv:2002.07101},
  year = {2020},
  eprint = {2002.07101},
  archivePrefix = {arXiv},
}""",
    ),
)

JET = ModelSpec(
    name="jet",
    model="flowbench_models.coupling.jet:Jet",
    config="flowbench_models.coupling.jet:JetConfig",
    modalities=frozenset({"image"}),
    summary="couplings of patches, computed by vision transformers",
    family=_FLOWS,
    forms=_SMALL_IMAGES,
    paper=Paper(
        title="Jet: A Modern Transformer-Based Normalizing Flow",
        authors="Alexander Kolesnikov, André Susano Pinto, Michael Tschannen",
        year=2024,
        arxiv="2412.15129",
        bibtex="""@article{kolesnikov2024jet,
  title = {Jet: A Modern Transformer-Based Normalizing Flow},
  author = {Kolesnikov, Alexander and Pinto, Andr{\\'e} Susano and Tschannen, Michael},
  journal = {arXiv preprint arXiv:2412.15129},
  year = {2024},
  eprint = {2412.15129},
  archivePrefix = {arXiv},
}""",
    ),
)

SURVAE = ModelSpec(
    name="survae",
    model="flowbench_models.surjective.survae:SurVAE",
    config="flowbench_models.surjective.survae:SurVAEConfig",
    modalities=frozenset({"image"}),
    summary="max pooling or slicing between scales of densely connected couplings",
    family=_FLOWS,
    paper=Paper(
        title="SurVAE Flows: Surjections to Bridge the Gap between VAEs and Flows",
        authors="Didrik Nielsen, Priyank Jaini, Emiel Hoogeboom, Ole Winther, Max Welling",
        year=2020,
        arxiv="2007.02731",
        bibtex="""@inproceedings{nielsen2020survae,
  title = {{SurVAE} Flows: Surjections to Bridge the Gap between {VAE}s and Flows},
  author = {Nielsen, Didrik and Jaini, Priyank and Hoogeboom, Emiel and Winther, Ole and
            Welling, Max},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {33},
  year = {2020},
  eprint = {2007.02731},
  archivePrefix = {arXiv},
}""",
    ),
)

DENSEFLOW = ModelSpec(
    name="denseflow",
    model="flowbench_models.augmented.denseflow.model:DenseFlow",
    config="flowbench_models.augmented.denseflow.config:DenseFlowConfig",
    modalities=frozenset({"image"}),
    summary="densely connected units that add conditional noise, attention in the couplings",
    family=_FLOWS,
    paper=Paper(
        title="Densely connected normalizing flows",
        authors="Matej Grcić, Ivan Grubišić, Siniša Šegvić",
        year=2021,
        arxiv="2106.04627",
        bibtex="""@inproceedings{grcic2021densely,
  title = {Densely connected normalizing flows},
  author = {Grci{\\'c}, Matej and Grubi{\\v{s}}i{\\'c}, Ivan and {\\v{S}}egvi{\\'c}, Sini{\\v{s}}a},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {34},
  year = {2021},
  eprint = {2106.04627},
  archivePrefix = {arXiv},
}""",
    ),
)

TARFLOW = ModelSpec(
    name="tarflow",
    model="flowbench_models.autoregressive.tarflow.model:TarFlow",
    config="flowbench_models.autoregressive.tarflow.config:TarFlowConfig",
    modalities=frozenset({"image"}),
    summary="transformers over patches, autoregressive in alternating directions",
    family=_FLOWS,
    paper=Paper(
        title="Normalizing Flows are Capable Generative Models",
        authors="Shuangfei Zhai et al.",
        year=2024,
        arxiv="2412.06329",
        bibtex="""@inproceedings{zhai2025tarflow,
  title = {Normalizing Flows are Capable Generative Models},
  author = {Zhai, Shuangfei and Zhang, Ruixiang and Nakkiran, Preetum and Berthelot, David and
            Gu, Jiatao and Zheng, Huangjie and Chen, Tianrong and Bautista, Miguel Angel and
            Jaitly, Navdeep and Susskind, Josh},
  booktitle = {International Conference on Machine Learning},
  year = {2025},
  eprint = {2412.06329},
  archivePrefix = {arXiv},
}""",
    ),
)

FFJORD = ModelSpec(
    name="ffjord",
    model="flowbench_models.continuous.ffjord.model:FFJORD",
    config="flowbench_models.continuous.ffjord.config:FFJORDConfig",
    modalities=frozenset({"image", "vector"}),
    summary="a free-form vector field, trained by maximum likelihood through its solver",
    family=_FLOWS,
    forms=_SOLVED,
    paper=Paper(
        title="FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models",
        authors="Will Grathwohl, Ricky T. Q. Chen, Jesse Bettencourt, Ilya Sutskever, "
        "David Duvenaud",
        year=2018,
        arxiv="1810.01367",
        bibtex="""@inproceedings{grathwohl2019ffjord,
  title = {{FFJORD}: Free-form Continuous Dynamics for Scalable Reversible Generative Models},
  author = {Grathwohl, Will and Chen, Ricky T. Q. and Bettencourt, Jesse and Sutskever, Ilya and
            Duvenaud, David},
  booktitle = {International Conference on Learning Representations},
  year = {2019},
  eprint = {1810.01367},
  archivePrefix = {arXiv},
}""",
    ),
)

FLOW_MATCHING = ModelSpec(
    name="flow-matching",
    model="flowbench_models.continuous.matching.model:FlowMatching",
    config="flowbench_models.continuous.matching.config:FlowMatchingConfig",
    modalities=frozenset({"image", "vector"}),
    summary="a velocity learned by regression along straight paths from noise to data",
    family=_MATCHING,
    forms=_SOLVED,
    paper=Paper(
        title="Flow Matching for Generative Modeling",
        authors="Yaron Lipman, Ricky T. Q. Chen, Heli Ben-Hamu, Maximilian Nickel, Matt Le",
        year=2022,
        arxiv="2210.02747",
        bibtex="""@inproceedings{lipman2023flow,
  title = {Flow Matching for Generative Modeling},
  author = {Lipman, Yaron and Chen, Ricky T. Q. and Ben-Hamu, Heli and Nickel, Maximilian and
            Le, Matt},
  booktitle = {International Conference on Learning Representations},
  year = {2023},
  eprint = {2210.02747},
  archivePrefix = {arXiv},
}""",
    ),
)

RECTIFIED_FLOW = ModelSpec(
    name="rectified-flow",
    model="flowbench_models.continuous.matching.model:RectifiedFlow",
    config="flowbench_models.continuous.matching.config:RectifiedFlowConfig",
    modalities=frozenset({"image", "vector"}),
    summary="a velocity learned along straight lines between noise and data",
    family=_MATCHING,
    forms=_SOLVED,
    paper=Paper(
        title="Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow",
        authors="Xingchao Liu, Chengyue Gong, Qiang Liu",
        year=2022,
        arxiv="2209.03003",
        bibtex="""@inproceedings{liu2023flow,
  title = {Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow},
  author = {Liu, Xingchao and Gong, Chengyue and Liu, Qiang},
  booktitle = {International Conference on Learning Representations},
  year = {2023},
  eprint = {2209.03003},
  archivePrefix = {arXiv},
}""",
    ),
)

OT_CFM = ModelSpec(
    name="ot-cfm",
    model="flowbench_models.continuous.matching.model:OTCFM",
    config="flowbench_models.continuous.matching.config:OTCFMConfig",
    modalities=frozenset({"image", "vector"}),
    summary="flow matching between noise and data that optimal transport has paired",
    family=_MATCHING,
    forms=_SOLVED,
    paper=Paper(
        title="Improving and generalizing flow-based generative models with minibatch optimal "
        "transport",
        authors="Alexander Tong et al.",
        year=2023,
        arxiv="2302.00482",
        bibtex="""@article{tong2024improving,
  title = {Improving and generalizing flow-based generative models with minibatch optimal
           transport},
  author = {Tong, Alexander and Fatras, Kilian and Malkin, Nikolay and Huguet, Guillaume and
            Zhang, Yanlei and Rector-Brooks, Jarrid and Wolf, Guy and Bengio, Yoshua},
  journal = {Transactions on Machine Learning Research},
  year = {2024},
  eprint = {2302.00482},
  archivePrefix = {arXiv},
}""",
    ),
)

DISCRETE_FLOW_MATCHING = ModelSpec(
    name="discrete-flow-matching",
    model="flowbench_models.continuous.discrete_matching.model:DiscreteFlowMatching",
    config="flowbench_models.continuous.discrete_matching.model:DiscreteFlowMatchingConfig",
    modalities=frozenset({"sequence"}),
    summary="tokens that jump from a mask, or from any token, to text, each at its own time",
    family=_MATCHING,
    forms=(_form(1, 16, levels=5, modality="sequence"), _form(1, 2, levels=3, modality="sequence")),
    paper=Paper(
        title="Discrete Flow Matching",
        authors="Itai Gat, Tal Remez, Neta Shaul, Felix Kreuk, Ricky T. Q. Chen, "
        "Gabriel Synnaeve, Yossi Adi, Yaron Lipman",
        year=2024,
        arxiv="2407.15595",
        bibtex="""@inproceedings{gat2024discrete,
  title = {Discrete Flow Matching},
  author = {Gat, Itai and Remez, Tal and Shaul, Neta and Kreuk, Felix and Chen, Ricky T. Q. and
            Synnaeve, Gabriel and Adi, Yossi and Lipman, Yaron},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2024},
  eprint = {2407.15595},
  archivePrefix = {arXiv},
}""",
    ),
)

RIEMANNIAN_FLOW_MATCHING = ModelSpec(
    name="riemannian-flow-matching",
    model="flowbench_models.continuous.riemannian.model:RiemannianFlowMatching",
    config="flowbench_models.continuous.riemannian.model:RiemannianFlowMatchingConfig",
    modalities=frozenset({"manifold"}),
    summary="a vector field on a sphere, a torus or the rotations, learned along geodesics",
    family=_MATCHING,
    forms=(_on("SPHERE", 3), _on("TORUS", 2), _on("ROTATIONS", 4)),
    paper=Paper(
        title="Flow Matching on General Geometries",
        authors="Ricky T. Q. Chen, Yaron Lipman",
        year=2023,
        arxiv="2302.03660",
        bibtex="""@inproceedings{chen2024flow,
  title = {Flow Matching on General Geometries},
  author = {Chen, Ricky T. Q. and Lipman, Yaron},
  booktitle = {International Conference on Learning Representations},
  year = {2024},
  eprint = {2302.03660},
  archivePrefix = {arXiv},
}""",
    ),
)

MEANFLOW = ModelSpec(
    name="meanflow",
    model="flowbench_models.continuous.matching.meanflow:MeanFlow",
    config="flowbench_models.continuous.matching.meanflow:MeanFlowConfig",
    modalities=frozenset({"image", "vector"}),
    summary="average velocities, learned by their own identity, for samples in one step",
    family=_MATCHING,
    forms=_SOLVED,
    paper=Paper(
        title="Mean Flows for One-step Generative Modeling",
        authors="Zhengyang Geng, Mingyang Deng, Xingjian Bai, J. Zico Kolter, Kaiming He",
        year=2025,
        arxiv="2505.13447",
        bibtex="""@inproceedings{geng2025mean,
  title = {Mean Flows for One-step Generative Modeling},
  author = {Geng, Zhengyang and Deng, Mingyang and Bai, Xingjian and Kolter, J. Zico and
            He, Kaiming},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2025},
  eprint = {2505.13447},
  archivePrefix = {arXiv},
}""",
    ),
)

IRESNET = ModelSpec(
    name="iresnet",
    model="flowbench_models.residual.model:IResNet",
    config="flowbench_models.residual.config:IResNetConfig",
    modalities=frozenset({"image", "vector"}),
    summary="residual blocks that are contractions, trained with five terms of a log-determinant",
    family=_FLOWS,
    forms=_SMALL,
    paper=Paper(
        title="Invertible Residual Networks",
        authors="Jens Behrmann, Will Grathwohl, Ricky T. Q. Chen, David Duvenaud, "
        "Jörn-Henrik Jacobsen",
        year=2018,
        arxiv="1811.00995",
        bibtex="""@inproceedings{behrmann2019invertible,
  title = {Invertible Residual Networks},
  author = {Behrmann, Jens and Grathwohl, Will and Chen, Ricky T. Q. and Duvenaud, David and
            Jacobsen, J{\\"o}rn-Henrik},
  booktitle = {International Conference on Machine Learning},
  year = {2019},
  eprint = {1811.00995},
  archivePrefix = {arXiv},
}""",
    ),
)

RESIDUAL_FLOW = ModelSpec(
    name="residual-flow",
    model="flowbench_models.residual.model:ResidualFlow",
    config="flowbench_models.residual.config:ResidualFlowConfig",
    modalities=frozenset({"image", "vector"}),
    summary="residual blocks that are contractions, with unbiased log-determinants",
    family=_FLOWS,
    forms=_SMALL,
    paper=Paper(
        title="Residual Flows for Invertible Generative Modeling",
        authors="Ricky T. Q. Chen, Jens Behrmann, David Duvenaud, Jörn-Henrik Jacobsen",
        year=2019,
        arxiv="1906.02735",
        bibtex="""@inproceedings{chen2019residual,
  title = {Residual Flows for Invertible Generative Modeling},
  author = {Chen, Ricky T. Q. and Behrmann, Jens and Duvenaud, David and
            Jacobsen, J{\\"o}rn-Henrik},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {32},
  year = {2019},
  eprint = {1906.02735},
  archivePrefix = {arXiv},
}""",
    ),
)

MINTNET = ModelSpec(
    name="mintnet",
    model="flowbench_models.residual.mintnet:MintNet",
    config="flowbench_models.residual.mintnet:MintNetConfig",
    modalities=frozenset({"image", "vector"}),
    summary="masked convolutions of triangular Jacobian, inverted by iteration",
    family=_FLOWS,
    forms=_SMALL,
    paper=Paper(
        title="MintNet: Building Invertible Neural Networks with Masked Convolutions",
        authors="Yang Song, Chenlin Meng, Stefano Ermon",
        year=2019,
        arxiv="1907.07945",
        bibtex="""@inproceedings{song2019mintnet,
  title = {{MintNet}: Building Invertible Neural Networks with Masked Convolutions},
  author = {Song, Yang and Meng, Chenlin and Ermon, Stefano},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {32},
  year = {2019},
  eprint = {1907.07945},
  archivePrefix = {arXiv},
}""",
    ),
)

IDENSENET = ModelSpec(
    name="idensenet",
    model="flowbench_models.residual.model:IDenseNet",
    config="flowbench_models.residual.config:IDenseNetConfig",
    modalities=frozenset({"image", "vector"}),
    summary="a Residual Flow whose blocks are dense networks with concatenated LipSwish",
    family=_FLOWS,
    forms=_SMALL,
    paper=Paper(
        title="Invertible DenseNets with Concatenated LipSwish",
        authors="Yura Perugachi-Diaz, Jakub M. Tomczak, Sandjai Bhulai",
        year=2021,
        arxiv="2102.02694",
        bibtex="""@inproceedings{perugachi2021invertible,
  title = {Invertible {DenseNets} with Concatenated {LipSwish}},
  author = {Perugachi-Diaz, Yura and Tomczak, Jakub M. and Bhulai, Sandjai},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {34},
  year = {2021},
  eprint = {2102.02694},
  archivePrefix = {arXiv},
}""",
    ),
)

HISTOGRAM = ModelSpec(
    name="histogram",
    model="flowbench_models.histogram:Histogram",
    config="flowbench_models.histogram:HistogramConfig",
    modalities=frozenset({"image"}),
    summary="an independent histogram for each pixel: the floor that every model must beat",
    family=_BASELINES,
)

GAUSSIAN = ModelSpec(
    name="gaussian",
    model="flowbench_models.gaussian:Gaussian",
    config="flowbench_models.gaussian:GaussianConfig",
    modalities=frozenset({"audio"}),
    summary="linear prediction in Gaussian noise: the floor that models of waveforms must beat",
    family=_BASELINES,
    forms=_WAVEFORMS,
)


@hookimpl
def register_models() -> list[ModelSpec]:
    """The models of this plugin, in the order of their papers, baselines last."""
    return [
        NICE,
        MADE,
        IAF,
        REALNVP,
        MAF,
        GLOW,
        IRESNET,
        FFJORD,
        FLOWPP,
        MACOW,
        NSF,
        RQNSF,
        RESIDUAL_FLOW,
        MINTNET,
        WAVEFLOW,
        NANOFLOW,
        NANOFLOW_AUDIO,
        IDENSENET,
        VFLOW,
        ANF,
        MAR_SCF,
        SURVAE,
        WAVELET_FLOW,
        DENSEFLOW,
        FLOW_MATCHING,
        RECTIFIED_FLOW,
        RIEMANNIAN_FLOW_MATCHING,
        OT_CFM,
        DISCRETE_FLOW_MATCHING,
        TARFLOW,
        JET,
        MEANFLOW,
        HISTOGRAM,
        GAUSSIAN,
    ]
