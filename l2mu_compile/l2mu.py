"""The L2MU as a torch module: trainable with surrogate gradients, and what checkpoints load into.

One time step (primes are last step's spikes)::

    u   = LIF(e_x x + e_h h' + e_m m')
    m   = LIF(A m' + B u)              for each of M memory cells of order d, A and B shared
    h   = LIF(W_x x + W_h h' + W_m m)
    out = LIF(W_o h + b)

Sources: Fra et al. 2024, arXiv 2407.04076, equations (4), (6), (7); Leto et al., NICE 2025; the
Legendre delay system is Voelker et al., NeurIPS 2019, equation (2). Parameter names are those of
the authors' published code, so its ``state_dict`` is this module's ``state_dict``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import snntorch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from l2mu_compile.errors import ModelError

IMU_CHANNELS = ("x_acc", "x_gyro", "y_acc", "y_gyro", "z_acc", "z_gyro")
ENCODERS = ("plain", "single", "stacked")
NEURON_TYPES = ("leaky", "synaptic")
DISCRETIZERS = ("zoh", "euler")
RESETS = ("subtract", "zero", "none")  # in the order of snnTorch's reset_mechanism_val


@dataclass(frozen=True)
class NeuronParameters:
    """Initial dynamics of one population: scalars, or one value per neuron.

    ``alpha`` (synaptic decay) is read by ``synaptic`` neurons only. ``reset`` None follows the
    model's.
    """

    beta: float | list[float] = 0.9
    threshold: float | list[float] = 1.0
    alpha: float | list[float] = 0.8
    reset: str | None = None


@dataclass(frozen=True)
class L2MUConfig:
    """Everything that fixes an L2MU's shape and options, but no trained number.

    Sizes are numbers of neurons: ``inputs`` sensor channels, ``memory_size`` cells of ``order``
    neurons each, ``hidden_size`` hidden neurons, ``classes`` outputs. ``theta`` is the memory's
    window in time steps. ``pop_size`` belongs to the single and stacked encoders (neurons per
    channel); ``encoding_size`` and ``output_transformer_size`` to the stacked one.
    """

    inputs: int
    classes: int
    hidden_size: int
    memory_size: int
    order: int
    theta: float
    encoder: str = "plain"
    pop_size: int = 0
    encoding_size: int = 0
    output_transformer_size: int = 0
    neuron: str = "leaky"
    reset: str = "subtract"
    bias: bool = False
    trainable_theta: bool = False
    discretizer: str = "zoh"
    learn_neurons: bool = True
    neurons: dict[str, NeuronParameters] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _one_of("encoder", self.encoder, ENCODERS)
        _one_of("neuron", self.neuron, NEURON_TYPES)
        _one_of("reset", self.reset, RESETS)
        _one_of("discretizer", self.discretizer, DISCRETIZERS)
        sizes = ["inputs", "classes", "hidden_size", "memory_size", "order"]
        sizes += ["pop_size"] if self.encoder != "plain" else []
        if self.encoder == "stacked":
            sizes += ["encoding_size", "output_transformer_size"]
        for name in sizes:
            if getattr(self, name) < 1:
                raise ModelError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.theta > 0:
            raise ModelError(f"theta must be a positive number of steps, not {self.theta}")

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and dictionaries, as stored in a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> L2MUConfig:
        """Inverse of `to_dict`. Raises `ModelError` on unknown or missing fields."""
        known = dict(values)
        try:
            neurons = {k: NeuronParameters(**v) for k, v in known.pop("neurons", {}).items()}
            return cls(**known, neurons=neurons)
        except (TypeError, AttributeError) as error:
            raise ModelError(f"hyper-parameters do not describe an L2MU: {error}") from None

    @property
    def encoded_size(self) -> int:
        """Width of what the L2MU cell reads: raw channels, or the encoder's last population."""
        if self.encoder == "stacked":
            return self.output_transformer_size
        return self.inputs * self.pop_size if self.encoder == "single" else self.inputs


def channel_names(inputs: int) -> tuple[str, ...]:
    """Names of encoder channels in hyper-parameter files: a wrist IMU's six, or numbers."""
    return IMU_CHANNELS if inputs == len(IMU_CHANNELS) else tuple(map(str, range(inputs)))


def legendre_delay(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Continuous-time A ``[order, order]`` and B ``[order, 1]`` of the delay system, for θ = 1.

    ``A[i, j] = (2i + 1) · (−1 if i < j else (−1)^(i−j+1))`` and ``B[i] = (2i + 1)(−1)^i``;
    Voelker et al., NeurIPS 2019, equation (2).
    """
    i, j = np.mgrid[:order, :order].astype(np.float64)
    gain = 2 * np.arange(order, dtype=np.float64)[:, None] + 1
    sign = np.where(i < j, -1.0, (-1.0) ** (i - j + 1))
    return gain * sign, gain * (-1.0) ** np.arange(order)[:, None]


def discretize(a: Tensor, b: Tensor, method: str) -> tuple[Tensor, Tensor]:
    """Discrete-time A and B for a time step of one.

    ``zoh``: the exponential of ``[[A, B], [0, 0]]`` holds both (zero-order hold, Voelker et al.
    2019, supplementary). ``euler``: ``I + A`` and ``B``.
    """
    order = a.shape[0]
    if method == "euler":
        return torch.eye(order, dtype=a.dtype) + a, b
    block = F.pad(torch.cat([a, b], dim=1), (0, 0, 0, 1))
    exponential = torch.matrix_exp(block)
    return exponential[:order, :order], exponential[:order, order:]


class L2MU(nn.Module):
    """A LIF-based Legendre Memory Unit for classifying windows of sensor samples.

    ``forward`` maps samples ``[T, B, inputs]`` to output spikes ``[T, B, classes]``; the decision
    is the class with most spikes over the window. State starts at zero in every call.
    """

    A: Tensor
    B: Tensor
    _base_A: Tensor
    _base_B: Tensor
    theta_inv: Tensor
    bias_x: Tensor | None
    bias_h: Tensor | None
    bias_m: Tensor | None
    input_encoder: SingleEncoder | StackedEncoder | None

    def __init__(self, config: L2MUConfig, spike_grad: Any = None) -> None:
        super().__init__()
        self.config = config
        self._spike_grad = spike_grad
        memory = config.memory_size * config.order
        self.input_encoder = self._make_encoder()
        self.e_x = _uniform(config.memory_size, config.encoded_size)
        self.e_h = _uniform(config.memory_size, config.hidden_size)
        self.e_m = nn.Parameter(torch.zeros(config.memory_size, memory))
        for name in ("bias_x", "bias_h", "bias_m"):
            value = nn.Parameter(torch.zeros(config.memory_size)) if config.bias else None
            self.register_parameter(name, value)
        self.W_x = _xavier(config.hidden_size, config.encoded_size)
        self.W_h = _xavier(config.hidden_size, config.hidden_size)
        self.W_m = _xavier(config.hidden_size, memory)
        self.output_transformation = nn.Linear(config.hidden_size, config.classes)
        self._make_memory()
        self.spk_u = self.make_neuron("u", config.memory_size)
        self.spk_m = self.make_neuron("m", memory)
        self.spk_h = self.make_neuron("h", config.hidden_size)
        self.spk_output = self.make_neuron("output", config.classes)

    def _make_encoder(self) -> SingleEncoder | StackedEncoder | None:
        if self.config.encoder == "plain":
            return None
        single = self.config.encoder == "single"
        return (SingleEncoder if single else StackedEncoder)(self.config, self.make_neuron)

    def _make_memory(self) -> None:
        config = self.config
        base_a, base_b = map(torch.from_numpy, legendre_delay(config.order))
        a, b = discretize(base_a / config.theta, base_b / config.theta, config.discretizer)
        self.register_buffer("A", a.to(torch.float32, memory_format=torch.contiguous_format))
        self.register_buffer("B", b.to(torch.float32, memory_format=torch.contiguous_format))
        if config.trainable_theta:
            self.theta_inv = nn.Parameter(torch.tensor(1.0 / config.theta))
            self.register_buffer("_base_A", base_a.float())
            self.register_buffer("_base_B", base_b.float())

    def make_neuron(self, name: str, size: int) -> nn.Module:
        """The snnTorch neuron of population ``name`` with ``size`` neurons."""
        config = self.config
        parameters = config.neurons.get(name, NeuronParameters())
        learn = config.learn_neurons
        options: dict[str, Any] = {
            "beta": _parameter(name, "beta", parameters.beta, size),
            "threshold": _parameter(name, "threshold", parameters.threshold, size),
            "learn_beta": learn,
            "learn_threshold": learn,
            "reset_mechanism": parameters.reset or config.reset,
            "spike_grad": self._spike_grad,
        }
        if config.neuron == "leaky":
            return snntorch.Leaky(**options)
        alpha = _parameter(name, "alpha", parameters.alpha, size)
        return snntorch.Synaptic(alpha=alpha, learn_alpha=learn, **options)

    def memory_matrices(self) -> tuple[Tensor, Tensor]:
        """A ``[order, order]`` and B ``[order, 1]``, recomputed from ``theta_inv`` if trainable."""
        if not self.config.trainable_theta:
            return self.A, self.B
        scaled = self._base_A * self.theta_inv, self._base_B * self.theta_inv
        return discretize(*scaled, self.config.discretizer)

    def forward(self, samples: Tensor) -> Tensor:
        steps, batch, _ = samples.shape
        config = self.config
        a, b = self.memory_matrices()
        u, m, h, out = (Stateful(n) for n in (self.spk_u, self.spk_m, self.spk_h, self.spk_output))
        encode = self.input_encoder.start() if self.input_encoder is not None else None
        spk_h = samples.new_zeros(batch, config.hidden_size)
        spk_m = samples.new_zeros(batch, config.memory_size * config.order)
        outputs = []
        for step in range(steps):
            x = samples[step] if encode is None else encode(samples[step])
            spk_u = u(
                F.linear(x, self.e_x, self.bias_x)
                + F.linear(spk_h, self.e_h, self.bias_h)
                + F.linear(spk_m, self.e_m, self.bias_m)
            )
            cells = spk_m.view(batch, config.memory_size, config.order)
            spk_m = m((F.linear(cells, a) + F.linear(spk_u.unsqueeze(-1), b)).flatten(1))
            spk_h = h(F.linear(x, self.W_x) + F.linear(spk_h, self.W_h) + F.linear(spk_m, self.W_m))
            outputs.append(out(self.output_transformation(spk_h)))
        return torch.stack(outputs)


class Stateful:
    """A snnTorch neuron with its state carried along: call it with a current, get spikes."""

    def __init__(self, neuron: nn.Module) -> None:
        self.neuron = neuron
        state: Any = neuron.reset_mem()  # type: ignore[operator]
        self.state = state if isinstance(state, tuple) else (state,)

    def __call__(self, current: Tensor) -> Tensor:
        spikes, *state = self.neuron(current, *self.state)
        self.state = tuple(state)
        return spikes


class SingleEncoder(nn.Module):
    """Each channel through its own ``Linear(1, P)`` and LIF population; spikes concatenated."""

    def __init__(self, config: L2MUConfig, make_neuron: Any) -> None:
        super().__init__()
        names = channel_names(config.inputs)
        self.pop_encoder_list = nn.ModuleList(nn.Linear(1, config.pop_size) for _ in names)
        self.spk_pop_encoder_list = nn.ModuleList(make_neuron(n, config.pop_size) for n in names)

    def start(self) -> Any:
        """A function from this step's samples ``[B, I]`` to spikes ``[B, I·P]``, state at zero."""
        neurons = [Stateful(n) for n in self.spk_pop_encoder_list]
        return lambda x: _encode_channels(x, self.pop_encoder_list, neurons)


class StackedEncoder(nn.Module):
    """A single encoder followed by ``Linear → LIF`` "encoder" and ``Linear → LIF`` "decoder"."""

    def __init__(self, config: L2MUConfig, make_neuron: Any) -> None:
        super().__init__()
        names = channel_names(config.inputs)
        pop, size, out = config.pop_size, config.encoding_size, config.output_transformer_size
        self.hidden_encoder_list = nn.ModuleList(nn.Linear(1, pop) for _ in names)
        self.spk_hidden_encoder_list = nn.ModuleList(make_neuron(n, pop) for n in names)
        self.encoder = nn.Linear(config.inputs * pop, size)
        self.spk_encoder = make_neuron("encoder", size)
        self.decoder = nn.Linear(size, out)
        self.spk_decoder = make_neuron("decoder", out)

    def start(self) -> Any:
        """A function from this step's samples ``[B, I]`` to decoder spikes, state at zero."""
        channels = [Stateful(n) for n in self.spk_hidden_encoder_list]
        encoder, decoder = Stateful(self.spk_encoder), Stateful(self.spk_decoder)

        def encode(x: Tensor) -> Tensor:
            spikes = _encode_channels(x, self.hidden_encoder_list, channels)
            return decoder(self.decoder(encoder(self.encoder(spikes))))

        return encode


def _encode_channels(x: Tensor, linears: nn.ModuleList, neurons: list[Stateful]) -> Tensor:
    spikes = [
        neuron(linear(x[:, i : i + 1]))
        for i, (linear, neuron) in enumerate(zip(linears, neurons, strict=True))
    ]
    return torch.cat(spikes, dim=1)


def _parameter(population: str, name: str, value: float | list[float], size: int) -> Tensor:
    tensor = torch.as_tensor(value, dtype=torch.float32)
    if tensor.ndim > 1 or tensor.numel() not in (1, size):
        raise ModelError(
            f"{name}_spk_{population} has shape {list(tensor.shape)}; "
            f"expected one number or {size} (one per neuron)"
        )
    return tensor


def _uniform(rows: int, columns: int) -> nn.Parameter:
    """LeCun-uniform weights, the published initialisation of the encoding vectors."""
    bound = (3.0 / columns) ** 0.5
    return nn.Parameter(torch.empty(rows, columns).uniform_(-bound, bound))


def _xavier(rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(nn.init.xavier_normal_(torch.empty(rows, columns)))


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ModelError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
