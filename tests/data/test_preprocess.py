from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from flowbench.api import (
    DatasetInfo,
    GaussianNoise,
    Logit,
    Preprocessing,
    Scale,
    Split,
    Standardise,
    UniformDequantization,
    bits_per_dim,
)
from flowbench.data.preprocess import Preprocessor
from flowbench.errors import ConfigError, DataError, ShapeError

SHAPE = (2, 3, 2)
UNIFORM = UniformDequantization()
CONTINUOUS_CHAINS = {
    "none": (),
    "unit": (Scale(),),
    "symmetric": (Scale(low=-1, high=1),),
    "closed": (Scale(low=-1, high=1, closed=True),),
    "half": (Scale(low=-0.5, high=0.5),),
    "logit": (Scale(), Logit()),
    "sharp logit": (Scale(), Logit(alpha=1e-6)),
    "standardise": (Standardise(),),
    "scale standardise": (Scale(), Standardise(per="channel")),
    "logit standardise": (Scale(), Logit(alpha=1e-6), Standardise(per="all")),
}


def info(levels: int | None, shape: tuple[int, ...] = SHAPE) -> DatasetInfo:
    return DatasetInfo(
        name="fake",
        modality="image",
        event_shape=shape,
        levels=levels,
        num_train=10,
        num_validation=2,
        num_test=2,
    )


def integers(levels: int, num: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, levels, (num, *SHAPE)).astype(np.int64)


def fitted(
    config: Preprocessing, levels: int | None, dtype: torch.dtype = torch.float32, seed: int = 0
) -> Preprocessor:
    preprocessor = Preprocessor(config, info(levels), dtype=dtype)
    if levels is None:
        x = np.random.default_rng(seed).normal(3.0, 2.0, (500, *SHAPE))
    else:
        x = integers(levels, 500, seed)
    preprocessor.fit(Split(x=x))
    return preprocessor


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=150)
@given(
    levels=st.sampled_from([2, 3, 17, 32, 100, 255, 256, 1000]) | st.integers(2, 4096),
    chain=st.sampled_from(sorted(CONTINUOUS_CHAINS)),
    seed=st.integers(0, 2**20),
)
def test_quantizing_undoes_dequantizing(levels: int, chain: str, seed: int) -> None:
    config = Preprocessing(noise=UNIFORM, bijections=CONTINUOUS_CHAINS[chain])
    preprocessor = fitted(config, levels, seed=seed)
    raw = torch.from_numpy(integers(levels, 32, seed))
    raw[0], raw[1] = 0, levels - 1
    y, _ = preprocessor.forward(raw, generator(seed))
    restored = preprocessor.inverse(y)
    assert torch.equal(restored.raw.long(), raw)
    assert (restored.num_clipped, restored.num_nonfinite) == (0, 0)


@pytest.mark.parametrize("levels", [2, 17, 256, 4096])
@pytest.mark.parametrize("extreme", [0.0, 1.0 - 2.0**-24])
@pytest.mark.parametrize("chain", sorted(CONTINUOUS_CHAINS))
def test_the_extreme_draws_stay_in_their_level(
    chain: str, extreme: float, levels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    preprocessor = fitted(Preprocessing(noise=UNIFORM, bijections=CONTINUOUS_CHAINS[chain]), levels)
    monkeypatch.setattr(torch, "rand", lambda size, **_: torch.full(size, extreme))
    raw = torch.arange(levels).view(-1, 1, 1, 1).expand(levels, *SHAPE)
    y, _ = preprocessor.forward(raw, None)
    assert torch.equal(preprocessor.inverse(y).raw.long(), raw)


@pytest.mark.parametrize(
    ("noise", "chain"),
    [(None, chain) for chain in sorted(CONTINUOUS_CHAINS)]
    + [(GaussianNoise(sigma=1e-4), c) for c in sorted(CONTINUOUS_CHAINS) if "logit" not in c],
)
def test_rounding_undoes_weak_noise(noise: GaussianNoise | None, chain: str) -> None:
    preprocessor = fitted(Preprocessing(noise=noise, bijections=CONTINUOUS_CHAINS[chain]), 256)
    raw = torch.from_numpy(integers(256))
    y, _ = preprocessor.forward(raw, generator())
    assert torch.equal(preprocessor.inverse(y).raw.long(), raw)


@pytest.mark.parametrize("levels", [17, 256])
@pytest.mark.parametrize("chain", sorted(CONTINUOUS_CHAINS))
def test_ladj_is_that_of_the_jacobian(chain: str, levels: int) -> None:
    config = Preprocessing(noise=UNIFORM, bijections=CONTINUOUS_CHAINS[chain])
    preprocessor = fitted(config, levels, dtype=torch.float64)
    raw = torch.from_numpy(integers(levels, 1)).double()

    def forward(x: torch.Tensor) -> torch.Tensor:
        return preprocessor.forward(x[None], generator(1))[0].flatten()

    jacobian = torch.func.jacrev(forward)(raw[0]).flatten(1)
    _, ladj = preprocessor.forward(raw, generator(1))
    torch.testing.assert_close(ladj[0], torch.linalg.slogdet(jacobian).logabsdet)


@pytest.mark.parametrize("chain", sorted(CONTINUOUS_CHAINS))
def test_float32_agrees_with_float64(chain: str) -> None:
    config = Preprocessing(bijections=CONTINUOUS_CHAINS[chain])
    single = fitted(config, 256)
    double = Preprocessor(config, info(256), dtype=torch.float64)
    double.load_state_dict(single.state_dict())
    raw = torch.from_numpy(integers(256))
    y, ladj = single.forward(raw, None)
    y_reference, ladj_reference = double.forward(raw, None)
    assert (y.dtype, ladj.dtype) == (torch.float32, torch.float32)
    assert (y_reference.dtype, ladj_reference.dtype) == (torch.float64, torch.float64)
    torch.testing.assert_close(y.double(), y_reference, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ladj.double(), ladj_reference, rtol=1e-5, atol=1e-4)


def uniform_log_density(y: torch.Tensor, config: Preprocessing, levels: int) -> torch.Tensor:
    """Log-density in the model's space of U[0, K) on the raw scale, from textbook formulas."""
    match config.bijections:
        case (Scale(low=low, high=high, closed=False),):
            per_dim = torch.full_like(y, -math.log(high - low))
        case (Scale(low=low, high=high, closed=True),):
            per_dim = torch.full_like(y, -math.log((high - low) * levels / (levels - 1)))
        case (Scale(), Logit(alpha=alpha)):  # the logistic density, cut off and renormalised
            logistic = torch.nn.functional.logsigmoid
            per_dim = logistic(y) + logistic(-y) - math.log(1.0 - 2.0 * alpha)
        case ():
            per_dim = torch.full_like(y, -math.log(levels))
        case other:
            pytest.fail(f"no formula for {other}")
    return per_dim.flatten(1).sum(dim=1)


@pytest.mark.parametrize("levels", [2, 17, 32, 256])
@pytest.mark.parametrize(
    "chain", ["none", "unit", "symmetric", "closed", "half", "logit", "sharp logit"]
)
def test_a_uniform_model_gives_log2_of_the_levels(chain: str, levels: int) -> None:
    config = Preprocessing(noise=UNIFORM, bijections=CONTINUOUS_CHAINS[chain])
    preprocessor = Preprocessor(config, info(levels), dtype=torch.float64)
    y, ladj = preprocessor.forward(torch.from_numpy(integers(levels)), generator())
    bits = bits_per_dim(uniform_log_density(y, config, levels) + ladj, math.prod(SHAPE))
    torch.testing.assert_close(bits, torch.full_like(bits, math.log2(levels)), rtol=1e-9, atol=1e-9)


def test_a_uniform_model_gives_log2_of_the_levels_after_standardising() -> None:
    levels, num_dims = 17, math.prod(SHAPE)
    config = Preprocessing(noise=UNIFORM, bijections=(Scale(), Standardise(per="dim")))
    preprocessor = fitted(config, levels, dtype=torch.float64)
    ends = torch.tensor([0, levels - 1]).view(2, 1, 1, 1).expand(2, *SHAPE)
    y, ladj = preprocessor.forward(ends, generator())
    # The image of [0, K) is an interval; its ends lie within one level of those of two draws.
    width = (y[1] - y[0]) * levels / ((levels - 1) + _noise_difference(config, ends))
    log_density = -width.log().sum()
    bits = bits_per_dim(log_density + ladj, num_dims)
    torch.testing.assert_close(bits, torch.full_like(bits, math.log2(levels)))


def _noise_difference(config: Preprocessing, ends: torch.Tensor) -> torch.Tensor:
    bare = Preprocessor(
        Preprocessing(noise=config.noise), info(int(ends.max()) + 1), dtype=torch.float64
    )
    noise = bare.forward(ends, generator())[0] - ends
    return noise[1] - noise[0]


def test_eight_bit_constants() -> None:
    raw = torch.from_numpy(integers(256, 4))
    unit = Preprocessor(Preprocessing(noise=UNIFORM, bijections=(Scale(),)), info(256))
    symmetric = Preprocessor(
        Preprocessing(noise=UNIFORM, bijections=(Scale(low=-1, high=1),)), info(256)
    )
    y, ladj = unit.forward(raw, generator())
    assert ((y >= 0) & (y < 1)).all()
    assert bits_per_dim(ladj, 12).tolist() == pytest.approx([8.0] * 4, abs=1e-6)
    y, ladj = symmetric.forward(raw, generator())
    assert ((y >= -1) & (y < 1)).all()
    assert bits_per_dim(ladj - 12 * math.log(2), 12).tolist() == pytest.approx([8.0] * 4, abs=1e-6)


def test_dequantization_noise_is_uniform() -> None:
    preprocessor = Preprocessor(Preprocessing(noise=UNIFORM), info(256))
    y, ladj = preprocessor.forward(torch.zeros(20_000, *SHAPE, dtype=torch.uint8), generator())
    counts = torch.histc(y, bins=10, min=0, max=1)
    num = y.numel()
    chi_squared = float(((counts - num / 10).square() / (num / 10)).sum())
    assert chi_squared < 27.9  # the 0.999 quantile of chi squared with 9 degrees of freedom
    assert ladj.tolist() == [0.0] * 20_000


@pytest.mark.parametrize(
    ("levels", "expected"), [(256, 0.05 * 127.5), (17, 0.05 * 8), (None, 0.05)]
)
def test_gaussian_noise_is_in_units_of_the_symmetric_range(
    levels: int | None, expected: float
) -> None:
    preprocessor = Preprocessor(Preprocessing(noise=GaussianNoise(sigma=0.05)), info(levels))
    y, _ = preprocessor.forward(torch.zeros(10_000, *SHAPE), generator())
    assert float(y.std()) == pytest.approx(expected, rel=0.01)
    assert float(y.mean()) == pytest.approx(0.0, abs=0.02 * expected)


def test_gaussian_noise_on_the_papers_range() -> None:
    config = Preprocessing(
        noise=GaussianNoise(sigma=0.05), bijections=(Scale(low=-1, high=1, closed=True),)
    )
    y, _ = Preprocessor(config, info(256)).forward(torch.zeros(5_000, *SHAPE), generator())
    assert float(y.mean()) == pytest.approx(-1.0, abs=0.002)
    assert float(y.std()) == pytest.approx(0.05, rel=0.01)


@pytest.mark.parametrize(
    ("per", "axes", "shape"),
    [("dim", (0,), SHAPE), ("channel", (0, 2, 3), (2, 1, 1)), ("all", (0, 1, 2, 3), (1, 1, 1))],
)
def test_standardise_takes_the_training_moments(
    per: str, axes: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    x = np.random.default_rng(0).normal(1e4, 0.5, (9000, *SHAPE))  # more than one chunk
    preprocessor = Preprocessor(
        Preprocessing(bijections=(Standardise(per=per),)), info(None), dtype=torch.float64
    )
    preprocessor.fit(Split(x=x))
    state = preprocessor.state_dict()
    assert state["bijections.0.mean"].shape == shape
    np.testing.assert_allclose(
        state["bijections.0.mean"], x.mean(axis=axes, keepdims=True)[0], rtol=1e-12
    )
    np.testing.assert_allclose(
        state["bijections.0.std"], x.std(axis=axes, keepdims=True)[0], rtol=1e-9
    )


def test_standardise_sees_values_as_they_stand_at_its_step() -> None:
    config = Preprocessing(noise=UNIFORM, bijections=(Scale(), Logit(), Standardise()))
    preprocessor = fitted(config, 256)
    raw = torch.from_numpy(integers(256, 500))
    y, _ = preprocessor.forward(raw, generator(5))
    assert float(y.mean(dim=0).abs().max()) < 0.01
    assert float((y.std(dim=0) - 1).abs().max()) < 0.01


def test_a_constant_pixel_gets_the_spread_of_its_noise() -> None:
    preprocessor = Preprocessor(Preprocessing(noise=UNIFORM, bijections=(Standardise(),)), info(17))
    preprocessor.fit(Split(x=np.zeros((5000, *SHAPE), dtype=np.uint8)))
    std = preprocessor.state_dict()["bijections.0.std"]
    np.testing.assert_allclose(std, 1 / math.sqrt(12), rtol=0.03)


def test_a_real_dim_without_spread_is_only_centred() -> None:
    preprocessor = Preprocessor(Preprocessing(bijections=(Standardise(),)), info(None))
    x = np.full((10, *SHAPE), 3.0)
    preprocessor.fit(Split(x=x))
    y, ladj = preprocessor.forward(torch.from_numpy(x), None)
    assert (y.abs().max().item(), ladj.abs().max().item()) == (0.0, 0.0)


def test_real_values_come_back_as_floats() -> None:
    preprocessor = fitted(Preprocessing(bijections=(Standardise(),)), None)
    raw = torch.randn(8, *SHAPE, generator=generator())
    y, _ = preprocessor.forward(raw, None)
    restored = preprocessor.inverse(y)
    torch.testing.assert_close(restored.raw, raw.double(), rtol=1e-5, atol=1e-6)
    assert restored.num_clipped == 0


def test_discrete_support_gets_the_integers() -> None:
    preprocessor = Preprocessor(Preprocessing(support="discrete"), info(256))
    raw = torch.from_numpy(integers(256).astype(np.uint8))
    y, ladj = preprocessor.forward(raw, None)
    assert y.dtype == torch.int64
    assert torch.equal(y, raw.long())
    assert torch.equal(ladj, torch.zeros(64))
    restored = preprocessor.inverse(y + 1)
    assert restored.num_clipped == int((raw == 255).sum())
    assert torch.equal(restored.raw, (raw.long() + 1).clamp(max=255).to(torch.uint8))


def test_inverse_counts_clipped_and_nonfinite_values() -> None:
    config = Preprocessing(noise=UNIFORM, bijections=(Scale(low=-1, high=1),))
    preprocessor = Preprocessor(config, info(256))
    y = torch.zeros(1, *SHAPE)
    y[0, 0, 0, 0], y[0, 0, 0, 1], y[0, 0, 1, 0] = 1.0, -1.01, 1e30
    y[0, 0, 1, 1], y[0, 0, 2, 0] = math.nan, math.inf
    restored = preprocessor.inverse(y)
    assert (restored.num_clipped, restored.num_nonfinite) == (3, 2)
    assert restored.raw.dtype == torch.uint8
    assert restored.raw.flatten()[:5].tolist() == [255, 0, 255, 0, 0]


def test_same_generator_state_same_noise() -> None:
    preprocessor = Preprocessor(Preprocessing(noise=UNIFORM), info(256))
    raw = torch.from_numpy(integers(256))
    first, _ = preprocessor.forward(raw, generator(3))
    again, _ = preprocessor.forward(raw, generator(3))
    other, _ = preprocessor.forward(raw, generator(4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_state_goes_round_through_a_file(tmp_path: Path) -> None:
    config = Preprocessing(noise=UNIFORM, bijections=(Scale(), Logit(), Standardise()))
    preprocessor = fitted(config, 17)
    path = tmp_path / "state.pt"
    torch.save(preprocessor.state_dict(), path)
    copy = Preprocessor(config, info(17))
    copy.load_state_dict(torch.load(path, weights_only=True))
    raw = torch.from_numpy(integers(17))
    y, ladj = preprocessor.forward(raw, generator())
    y_copy, ladj_copy = copy.forward(raw, generator())
    assert torch.equal(y, y_copy)
    assert torch.equal(ladj, ladj_copy)


@pytest.mark.parametrize(
    ("levels", "config", "message"),
    [
        (None, Preprocessing(noise=UNIFORM), "uniform_dequantization needs integer levels"),
        (None, Preprocessing(bijections=(Scale(),)), "scale needs integer levels"),
        (None, Preprocessing(support="discrete"), "discrete support cannot take 'fake'"),
        (None, Preprocessing(bijections=(Logit(),)), r"needs values in \[0, 1\]"),
        (256, Preprocessing(noise=UNIFORM, bijections=(Logit(),)), r"lie in \[0, 256\]"),
        (
            256,
            Preprocessing(noise=UNIFORM, bijections=(Scale(low=-1), Logit())),
            r"lie in \[-1, 1\]",
        ),
        (
            256,
            Preprocessing(noise=UNIFORM, bijections=(Scale(closed=True), Logit())),
            r"lie in \[0, 1.00392\]",
        ),
        (
            256,
            Preprocessing(noise=GaussianNoise(sigma=0.1), bijections=(Scale(), Logit())),
            "have no bounds",
        ),
        (
            256,
            Preprocessing(bijections=(Scale(), Standardise(), Logit())),
            r"bijections\[2\].*no bounds",
        ),
        (256, Preprocessing(bijections=(Standardise(), Scale())), "must be the first bijection"),
    ],
)
def test_steps_that_do_not_fit_are_refused(
    levels: int | None, config: Preprocessing, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Preprocessor(config, info(levels))
    assert "\n" not in str(caught.value)


def test_use_before_fit_is_refused() -> None:
    preprocessor = Preprocessor(Preprocessing(bijections=(Scale(), Standardise())), info(256))
    with pytest.raises(DataError, match="call fit"):
        preprocessor.forward(torch.zeros(1, *SHAPE), None)
    with pytest.raises(DataError, match="call fit"):
        preprocessor.inverse(torch.zeros(1, *SHAPE))


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(4, 2, 3\), 'fake' needs \(B, 2, 3, 2\)"):
        Preprocessor(Preprocessing(), info(256)).forward(torch.zeros(4, 2, 3), None)


def test_the_state_of_another_config_is_refused() -> None:
    state = fitted(Preprocessing(bijections=(Standardise(),)), None).state_dict()
    other = Preprocessor(Preprocessing(bijections=(Scale(), Standardise())), info(256))
    with pytest.raises(ConfigError, match="with the configuration it was trained with"):
        other.load_state_dict(state)


def columns(kind: str, num: int = 4000) -> np.ndarray:
    """Two columns: N(0, 1) in the first, and in the second what ``kind`` says."""
    x = np.random.default_rng(2).standard_normal((num, 2))
    match kind:
        case "constant 0.1":
            x[:, 1] = 0.1
        case "constant 1234.567 in float32":
            x[:, 1] = 1234.567
            return x.astype(np.float32)
        case "rounding of 1e8 alone":
            x[:, 1] = np.where(x[:, 1] > 0, 1e8, np.nextafter(1e8, 2e8))
        case "rounding in float32 alone":
            x = x.astype(np.float32)
            x[:, 1] = np.where(x[:, 1] > 0, np.float32(0.1), np.nextafter(np.float32(0.1), 1))
        case "constant 0":
            x[:, 1] = 0
        case "constant -1e30":
            x[:, 1] = -1e30
        case other:
            pytest.fail(f"no column {other}")
    return x


def vectors() -> DatasetInfo:
    return DatasetInfo(
        name="vectors",
        modality="vector",
        event_shape=(2,),
        levels=None,
        num_train=4000,
        num_validation=2,
        num_test=2,
    )


def standard_normal_nll(x: np.ndarray, step: Standardise) -> tuple[float, Preprocessor]:
    """Nats under N(0, 1) in the model's space, as a model in float32 has them."""
    preprocessor = Preprocessor(Preprocessing(bijections=(step,)), vectors())
    preprocessor.fit(Split(x=x))
    y, ladj = preprocessor.forward(torch.from_numpy(x), None)
    assert (y.dtype, ladj.dtype) == (torch.float32, torch.float32)
    log_prob = -0.5 * (y.double().square() + math.log(2 * math.pi)).sum(1) + ladj.double()
    return -float(log_prob.mean()), preprocessor


@pytest.mark.parametrize(
    "kind",
    [
        "constant 0.1",
        "constant 1234.567 in float32",
        "rounding of 1e8 alone",
        "rounding in float32 alone",
        "constant 0",
        "constant -1e30",
    ],
)
def test_a_column_without_spread_is_centred_and_left_unscaled(kind: str) -> None:
    x = columns(kind)
    nll, preprocessor = standard_normal_nll(x, Standardise(per="dim"))
    entropy = 0.5 * (math.log(2 * math.pi) + 1) + math.log(x[:, 0].astype(np.float64).std())
    assert nll == pytest.approx(entropy + 0.5 * math.log(2 * math.pi), abs=1e-6)
    assert preprocessor.without_spread == "1 of 2 dims: 1"
    again = Preprocessor(Preprocessing(bijections=(Standardise(per="dim"),)), vectors())
    again.load_state_dict(preprocessor.state_dict())
    assert again.without_spread == "1 of 2 dims: 1"


@pytest.mark.parametrize("step", [Standardise(per=per) for per in ("dim", "channel", "all")])
@pytest.mark.parametrize(
    ("scale", "shift", "dtype", "within"),
    [
        (1.0, 1e4, np.float64, 1e-6),
        (1.0, 1e6, np.float64, 1e-6),
        (1.0, 1e8, np.float64, 1e-6),
        (1.0, -1e12, np.float64, 1e-4),
        (1.0, 1e4, np.float32, 1e-3),  # what float32 data themselves have lost
        (1.0, 1e6, np.float32, 1e-2),
        (1e-30, 0.0, np.float64, 1e-4),
        (1e30, 0.0, np.float64, 1e-4),
        (1e30, 0.0, np.float32, 1e-4),
        (1e-30, 1e-24, np.float64, 1e-4),
        (1e100, 1e108, np.float64, 1e-4),
    ],
)
def test_shift_and_scale_change_a_density_by_what_they_must(
    step: Standardise, scale: float, shift: float, dtype: type, within: float
) -> None:
    z = np.random.default_rng(2).standard_normal((4000, 2))
    expected = standard_normal_nll(z, step)[0] + 2 * math.log(scale)
    x: NDArray[Any] = (z * scale + shift).astype(dtype)
    nll, preprocessor = standard_normal_nll(x, step)
    assert nll == pytest.approx(expected, abs=within)
    assert preprocessor.without_spread is None
    y, _ = preprocessor.forward(torch.from_numpy(x), None)
    restored = preprocessor.inverse(y).raw.numpy()
    assert np.abs(restored - x).max() < 1e-6 * scale * np.abs(z).max() + 1e-15 * abs(shift)


@pytest.mark.parametrize(
    ("shift", "within"),
    [(2.0**40, 1e-6), (1e15, 1e-3)],  # there a mean is rounded to eighths, beside a spread of 7
)
def test_integers_given_as_floats_are_as_real_as_others(shift: float, within: float) -> None:
    counts = np.random.default_rng(0).poisson(50, (4000, 2))
    floats, _ = standard_normal_nll(counts + shift, Standardise())
    integers, _ = standard_normal_nll(counts, Standardise())
    assert floats == pytest.approx(integers, abs=within)


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, 1e200, 1e-200, 1e-310, 5e-324],
    ids=lambda value: f"{value:g}",
)
def test_values_without_moments_are_refused(value: float) -> None:
    x = np.zeros((8, 2))
    x[::2, 1] = value
    preprocessor = Preprocessor(Preprocessing(bijections=(Standardise(),)), vectors())
    with pytest.raises(DataError, match=r"no mean and spread can be had .* in dim 1 go") as refused:
        preprocessor.fit(Split(x=x))
    assert "\n" not in str(refused.value)


def test_a_state_of_before_spread_was_noted_is_read() -> None:
    fresh = fitted(Preprocessing(bijections=(Standardise(),)), None)
    state = {name: v for name, v in fresh.state_dict().items() if not name.endswith("flat")}
    again = Preprocessor(Preprocessing(bijections=(Standardise(),)), info(None))
    again.load_state_dict(state)
    raw = torch.randn(8, *SHAPE, generator=generator())
    assert torch.equal(fresh.forward(raw, None)[0], again.forward(raw, None)[0])
    assert again.without_spread is None
