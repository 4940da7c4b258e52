"""WaveFlow and NanoFlow on waveforms: sampling with kept rows, and against released code.

    python -m tests.benchmarks.bench_waveflow --model waveflow --channels 64
    python -m tests.benchmarks.bench_waveflow --model nanoflow-audio --released PATH

The first ratio is the time of sampling that computes all rows anew for each row / that of ours, so
more than 1 means that ours is faster; both give the same waveform. PATH is a checkout of
github.com/L0SG/NanoFlow, which is brought along only to measure. With the same weights in float64,
affine and with splines, latents, log-determinants and samples must then agree before a training
step of either side is timed: loss, backward, clipping, Adam; the ratio is ours / released. With
``--profile`` follows where ours spends its time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from flowbench.api import Context, ContextInput, DatasetInfo
from flowbench_models.autoregressive.waveflow.config import (
    TABLE_2,
    NanoFlowAudioConfig,
    WaveFlowConfig,
)
from flowbench_models.autoregressive.waveflow.model import NanoFlowAudio, WaveFlow
from flowbench_models.autoregressive.waveflow.network import (
    Estimator,
    NormalisedConvs,
    of_all_rows,
)
from flowbench_models.nets.convolution import ZeroConv2d
from flowbench_models.nets.sharing import Indication
from tests.benchmarks.bench_released import our_step, profile
from tests.benchmarks.ratios import Ratio, argument_parser, take_turns

BANDS, HOP = 80, 256
CUT = 768  # values that released code cuts off a sample
TOLERANCE = 1e-10  # relative, in float64
BINS, BOUND = 32, 5.0
MODELS = {
    "waveflow": ("waveflow", "WaveFlow"),
    "nanoflow-audio": ("nanoflow", "NanoFlow"),
    "nanoflow-audio:decomp": ("nanoflow_decomp", "NanoFlowDecomp"),
    "nanoflow-audio:naive": ("nanoflow_naive", "NanoFlowNaive"),
}
"""Module and class of the released code by our name."""


def data_info(frames: int) -> DatasetInfo:
    """Facts of a dataset of waveforms with spectrograms."""
    return DatasetInfo(
        name="noise",
        modality="audio",
        event_shape=(1, frames * HOP),
        levels=None,
        context={"mel": ContextInput(shape=(BANDS, frames), stride=HOP)},
        num_train=1,
        num_validation=1,
        num_test=1,
    )


def ours_of(options: argparse.Namespace, law: str) -> WaveFlow:
    """Our model of the sizes asked for."""
    sizes = {name: getattr(options, name) for name in ("flows", "rows", "channels", "layers")}
    training = TABLE_2.model_copy(update={"window": None})
    values = {**sizes, "law": law, "bins": BINS, "bound": BOUND, "training": training}
    data = data_info(options.frames)
    if options.model == "waveflow":
        return WaveFlow(WaveFlowConfig.model_validate(values), data)
    shared = {"naive": {"shared_projection": True, "embedding": 0}, "decomp": {"embedding": 0}}
    variant = shared.get(options.model.partition(":")[2], {"embedding": options.embedding})
    return NanoFlowAudio(NanoFlowAudioConfig.model_validate({**values, **variant}), data)


def theirs_of(options: argparse.Namespace, law: str) -> Any:
    """The released model of the same sizes, its gates and embeddings off their initial values."""
    module, name = MODELS[options.model]
    kind = getattr(import_module(f"models.{module}"), name)
    coupling: dict[str, Any] = {"num_bin": BINS, "tail_bound": BOUND}
    coupling["coupling_type"] = {"affine": "affine", "rqs": "nsf"}[law]
    if name == "NanoFlowNaive":  # affine alone
        coupling = {}
    embedding = {"size_flow_embed": options.embedding} if name == "NanoFlow" else {}
    return kind(
        in_channel=1,
        cin_channel=BANDS,
        res_channel=options.channels,
        n_height=options.rows,
        n_flow=options.flows,
        n_layer=options.layers,
        layers_per_dilation_h_cycle=1,
        **coupling,
        **embedding,
    )


@torch.no_grad()
def copy_weights(model: WaveFlow, released: Any) -> None:
    """Gives our model the released weights."""
    theirs = getattr(released, "flows", None)
    flows = [released.flow] if theirs is None else list(theirs)
    estimators = cast("list[Estimator]", list(model.estimators))
    shared = getattr(released, "estimator", None)
    nets = [flow.coupling.net for flow in flows] if shared is None else [shared.net]
    for estimator, net in zip(estimators, nets, strict=True):
        blocks = list(net.res_blocks)
        copy_convs(estimator.front, [net.front_conv[0].conv])
        copy_convs(estimator.sights, [block.filter_gate_conv.conv for block in blocks])
        copy_convs(estimator.outs, [block.res_skip_conv for block in blocks])
        assert estimator.context is not None
        copy_convs(estimator.context, [block.filter_gate_conv_c for block in blocks])
        if estimator.embedded is not None:
            copy_convs(estimator.embedded, [block.filter_gate_conv_h for block in blocks])
    holders = [getattr(flow, "coupling", flow) for flow in flows]
    if isinstance(model.projections, NormalisedConvs):
        copy_convs(model.projections, [holder.proj.conv for holder in holders])
    else:
        for ours, holder in zip(model.projections, holders, strict=True):
            assert isinstance(ours, ZeroConv2d)
            ours.weight.copy_(holder.proj_log_s_t.conv.weight)
            ours.bias.copy_(holder.proj_log_s_t.conv.bias)
            ours.log_scale.copy_(holder.proj_log_s_t.scale.flatten())
    for turn, each in enumerate(cast("list[Indication]", list(model.indications))):
        each.embedding.copy_(released.flow_embedding.weight[turn])
        each.gates.copy_(flows[turn].multgate.log())
    assert model.upsampler is not None
    for layer, conv in zip(model.upsampler.layers, released.upsample_conv[::2], strict=True):
        assert isinstance(layer, NormalisedConvs)
        layer.weight.copy_(conv.weight_v)
        layer.magnitude.copy_(conv.weight_g.flatten())
        layer.bias.copy_(conv.bias)


def copy_convs(ours: NormalisedConvs, theirs: Sequence[Any]) -> None:
    """Gives convolutions the released weights."""
    ours.weight.copy_(torch.stack([conv.weight_v for conv in theirs]))
    ours.magnitude.copy_(torch.stack([conv.weight_g.flatten() for conv in theirs]))
    ours.bias.copy_(torch.stack([conv.bias for conv in theirs]))


@torch.no_grad()
def largest_errors(model: WaveFlow, released: Any) -> dict[str, float]:
    """Relative differences of latents, log-determinants and samples, of two waveforms."""
    frames, rows = model.data.context["mel"].shape[-1], model.config.rows
    mel = torch.randn(2, BANDS, frames, dtype=torch.float64)
    x = 0.3 * torch.randn(2, 1, frames * HOP, dtype=torch.float64)
    (z,), ladj = model.to_latent(x, {"mel": mel})
    theirs, log_determinants = released(x[:, 0], mel)
    their_z = theirs.transpose(2, 3).reshape(z.shape)
    noise = torch.randn(2, 1, frames * HOP - CUT, dtype=torch.float64)
    sample = model.from_latent((noise,), {"mel": mel})
    if hasattr(released, "cache_flow_embed"):
        released.h_cache = released.cache_flow_embed()
    folded = noise.unflatten(2, (-1, rows)).transpose(2, 3)
    their_sample = released.reverse(mel, debug_z=folded.clone()).view_as(sample)
    pairs = {
        "latents": (z, their_z),
        "log-determinants": (ladj.sum(), log_determinants.sum()),
        "samples": (sample, their_sample),
    }
    return {
        name: float((ours - their).abs().max() / their.abs().max())
        for name, (ours, their) in pairs.items()
    }


def compare_with(options: argparse.Namespace) -> Ratio:
    """Holds our numbers to the released ones, then times a training step of both.

    Raises:
        SystemExit: They differ.
    """
    sys.path.insert(0, str(options.released))
    # Released code moves one tensor to a GPU, wherever the model is.
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    for law in ("affine",) if options.model.endswith("naive") else ("rqs", "affine"):
        torch.manual_seed(0)
        model, released = ours_of(options, law), theirs_of(options, law)
        with torch.no_grad():
            for name, parameter in released.named_parameters():
                if "multgate" in name or "scale" in name or "proj_log_s_t" in name:
                    parameter.add_(0.1 * torch.rand_like(parameter))
        model.double(), released.double()
        copy_weights(model, released)
        errors = largest_errors(model, released)
        print(law, ", ".join(f"{name} {error:.1e}" for name, error in errors.items()))
        if not max(errors.values()) < TOLERANCE:
            raise SystemExit(f"{options.model} with {law} differs by more than {TOLERANCE}")
    model.float(), released.float()
    mel = torch.randn(options.batch_size, BANDS, options.frames)
    x = 0.3 * torch.randn(options.batch_size, 1, options.frames * HOP)
    step = our_step(model, x, {"mel": mel})
    loss = import_module("models.loss").WaveFlowLossDataParallel()
    optimizer = torch.optim.Adam(released.parameters(), lr=1e-3)

    def theirs() -> None:
        optimizer.zero_grad()
        loss(released(x[:, 0], mel)).backward()
        nn.utils.clip_grad_norm_(released.parameters(), 5.0)
        optimizer.step()

    ours_s, theirs_s = take_turns(step, theirs, rounds=options.rounds, warm_up=1)
    title = f"ours / released, {options.model} step ({sizes_of(options)})"
    if options.profile:
        profile(step, options.profile)
    return Ratio.of(title, ours_s, theirs_s)


@torch.no_grad()
def without_kept_rows(model: WaveFlow, z: Tensor, context: Context) -> Tensor:
    """The inverse by whole passes: as many as there are rows, over the rows that are known."""
    values = model._folded(z)
    for net, contexts in reversed(model._networks(context, z.shape[-1])):
        given = contexts()
        rows = range(model.config.rows)
        found = torch.zeros_like(values)
        for row in reversed(rows) if net.backwards else rows:
            known = slice(row, None) if net.backwards else slice(None, row + 1)
            there = None if given is None else [each[:, :, known] for each in given]
            parameters = of_all_rows(net, found[:, :, known], there)
            last = slice(0, 1) if net.backwards else slice(-1, None)
            here = slice(row, row + 1)
            found[:, :, here] = model.law.inverse(values[:, :, here], parameters[:, :, last])
        values = found
    return model._unfolded(values)


def sampling_ratio(options: argparse.Namespace) -> Ratio:
    """Times sampling without kept rows against ours."""
    torch.manual_seed(0)
    model = ours_of(options, "affine")
    context = {"mel": torch.randn(1, BANDS, options.frames)}
    z = torch.randn(1, 1, options.frames * HOP)

    @torch.no_grad()
    def ours() -> Tensor:
        return model.from_latent((z,), context)

    def whole() -> Tensor:
        return without_kept_rows(model, z, context)

    torch.testing.assert_close(ours(), whole(), rtol=1e-3, atol=1e-3)
    whole_s, ours_s = take_turns(whole, ours, rounds=options.rounds, warm_up=1)
    title = f"whole passes / kept rows, {options.model} sample ({sizes_of(options)})"
    return Ratio.of(title, whole_s, ours_s)


def sizes_of(options: argparse.Namespace) -> str:
    """The sizes of a measurement in words."""
    return (
        f"{options.flows} flows of {options.layers} layers, {options.channels} channels, "
        f"G={options.rows}, {options.batch_size}x{options.frames * HOP}"
    )


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Measures sampling, and with released code agreement and a training step."""
    parser = argument_parser(__doc__, rounds=5)
    parser.add_argument("--model", choices=MODELS, default="waveflow")
    parser.add_argument("--released", type=Path)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--flows", type=int, default=8)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--embedding", type=int, default=128)
    parser.add_argument("--profile", type=int, default=0, metavar="ROWS")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    ratios = [compare_with(options)] if options.released else []
    ratios.append(sampling_ratio(options))
    for ratio in ratios:
        print(ratio)
    return ratios


if __name__ == "__main__":
    main()
