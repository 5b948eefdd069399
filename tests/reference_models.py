"""The L2MU networks that checkpoints come from, written once more and plainly, with snnTorch.

`RawNet` has the raw layout (parameters ``e_x`` … ``W_m``, buffers ``A`` and ``B``), `CellNet` the
Lightning layout (bias-free linears, neurons that keep their state). Neither uses the package. As
in the published cells, the memory's neurons see currents ``[B, cells, order]``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
import snntorch
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

torch.set_num_threads(1)  # tensors here are tiny

CHANNELS = ("x_acc", "x_gyro", "y_acc", "y_gyro", "z_acc", "z_gyro")
CODES = {"subtract": 0, "zero": 1, "none": 2}


@dataclass
class Shape:
    """Sizes of a small network, different ones so that a mixed-up axis cannot go unnoticed."""

    inputs: int = 6
    classes: int = 3
    hidden: int = 7
    cells: int = 5
    order: int = 4
    theta: float = 6.0
    pop: int = 2
    encoding: int = 8
    encoded: int = 9


@dataclass
class Options:
    """What kind of network: see `RawNet`."""

    encoder: str = "plain"
    neuron: str = "leaky"
    bias: bool = False
    trainable_theta: bool = False
    per_neuron: bool = False
    resets: dict[str, str] = field(default_factory=dict)
    seed: int = 0


def continuous(order: int) -> tuple[np.ndarray, np.ndarray]:
    """The delay system, entry by entry, for a window of one second."""
    a, b = np.zeros((order, order)), np.zeros((order, 1))
    for i in range(order):
        b[i, 0] = (2 * i + 1) * (-1) ** i
        for j in range(order):
            a[i, j] = (2 * i + 1) * (-1 if i < j else (-1) ** (i - j + 1))
    return a, b


def held(base_a: torch.Tensor, base_b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The published discretization: of transposed matrices, the result as it comes. Both are views
    of one matrix, and are saved as such."""
    order = len(base_a)
    square = torch.zeros(order + 1, order + 1)
    square[:order, :order], square[order:, :order] = base_a, base_b
    exponential = torch.matrix_exp(square)
    return exponential[:order, :order], exponential[order:, :order].reshape(order, 1)


def make_neuron(kind: str, values: dict, reset: str = "subtract", **options) -> nn.Module:
    options = {**options, "reset_mechanism": reset, "threshold": values["threshold"]}
    if kind == "leaky":
        return snntorch.Leaky(beta=values["beta"], **options)
    return snntorch.Synaptic(alpha=values["alpha"], beta=values["beta"], **options)


class Carried:
    """A neuron and its state, passed in and out at every step."""

    def __init__(self, neuron: nn.Module) -> None:
        state = neuron.reset_mem()
        self.neuron, self.state = neuron, state if isinstance(state, tuple) else (state,)

    def __call__(self, current: torch.Tensor) -> torch.Tensor:
        spikes, *self.state = self.neuron(current, *self.state)
        return spikes


class Channels(nn.Module):
    """Encoder: one ``Linear(1, P)`` and one neuron population for each channel.

    The single encoder keeps its neurons in a plain list, so that no state_dict holds them.
    """

    def __init__(self, net: RawNet, stacked: bool) -> None:
        super().__init__()
        shape = net.shape
        linears = nn.ModuleList(nn.Linear(1, shape.pop) for _ in range(shape.inputs))
        neurons = [net.neuron(CHANNELS[i], shape.pop) for i in range(shape.inputs)]
        self.stacked = stacked
        if not stacked:
            self.pop_encoder_list, self.neurons = linears, neurons
            return
        self.hidden_encoder_list = linears
        self.spk_hidden_encoder_list = nn.ModuleList(neurons)
        self.encoder = nn.Linear(shape.inputs * shape.pop, shape.encoding)
        self.spk_encoder = net.neuron("encoder", shape.encoding)
        self.decoder = nn.Linear(shape.encoding, shape.encoded)
        self.spk_decoder = net.neuron("decoder", shape.encoded)

    def begin(self):
        linears = self.hidden_encoder_list if self.stacked else self.pop_encoder_list
        neurons = self.spk_hidden_encoder_list if self.stacked else self.neurons
        channels = [Carried(n) for n in neurons]
        if self.stacked:
            encoder, decoder = Carried(self.spk_encoder), Carried(self.spk_decoder)

        def encode(x):
            spikes = [
                carried(linear(x[:, i].unsqueeze(1)))
                for i, (linear, carried) in enumerate(zip(linears, channels, strict=True))
            ]
            spikes = torch.cat(spikes, 1)
            if not self.stacked:
                return spikes
            return decoder(self.decoder(encoder(self.encoder(spikes))))

        return encode


class RawNet(nn.Module):
    """Raw layout. ``forward``: samples ``[T, B, I]`` to output spikes ``[T, B, classes]``."""

    def __init__(self, options: Options | None = None, shape: Shape | None = None) -> None:
        super().__init__()
        options, shape = options or Options(), shape or Shape()
        torch.manual_seed(options.seed)
        self.options, self.shape, self.values = options, shape, {}
        if options.encoder != "plain":
            self.input_encoder = Channels(self, options.encoder == "stacked")
        width = {"plain": shape.inputs, "single": shape.inputs * shape.pop}
        width = width.get(options.encoder, shape.encoded)
        memory = shape.cells * shape.order
        for name, rows, columns in (
            ("e_x", shape.cells, width),
            ("e_h", shape.cells, shape.hidden),
            ("e_m", shape.cells, memory),
            ("W_x", shape.hidden, width),
            ("W_h", shape.hidden, shape.hidden),
            ("W_m", shape.hidden, memory),
        ):
            self.register_parameter(name, nn.Parameter(torch.randn(rows, columns) * 0.5))
        for name in ("bias_x", "bias_h", "bias_m"):
            value = nn.Parameter(torch.randn(shape.cells) * 0.3) if options.bias else None
            self.register_parameter(name, value)
        self.output_transformation = nn.Linear(shape.hidden, shape.classes)
        self.output_transformation.weight.data *= 2.0
        a, b = (torch.tensor(m, dtype=torch.float32) for m in continuous(shape.order))
        held_a, held_b = held(a.T / shape.theta, b.T / shape.theta)
        self.register_buffer("A", held_a)
        self.register_buffer("B", held_b)
        if options.trainable_theta:
            self.register_buffer("_base_A", a.T.contiguous())
            self.register_buffer("_base_B", b.T.contiguous())
            self.theta_inv = nn.Parameter(torch.tensor(1.0 / (0.6 * shape.theta)))
        self.spk_u = self.neuron("u", shape.cells)
        self.spk_m = self.neuron("m", shape.cells, shape.order)
        self.spk_h = self.neuron("h", shape.hidden)
        self.spk_output = self.neuron("output", shape.classes)
        self.eval()

    def neuron(self, name: str, *sizes: int) -> nn.Module:
        """The neuron of a population; if ``per_neuron``, with parameters of its current's shape."""
        shape = sizes if self.options.per_neuron else ()
        values = {
            "beta": torch.empty(shape).uniform_(0.5, 0.95),
            "threshold": torch.empty(shape).uniform_(0.2, 0.6),
            "alpha": torch.empty(shape).uniform_(0.2, 0.7),
        }
        if self.options.neuron == "leaky":
            del values["alpha"]
        self.values[name] = {key: value.tolist() for key, value in values.items()}
        return make_neuron(self.options.neuron, values, self.options.resets.get(name, "subtract"))

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        steps, batch, _ = samples.shape
        shape = self.shape
        u, m, h, out = (Carried(n) for n in (self.spk_u, self.spk_m, self.spk_h, self.spk_output))
        encode = self.input_encoder.begin() if self.options.encoder != "plain" else lambda x: x
        a, b = self.A, self.B
        if self.options.trainable_theta:
            a, b = held(self._base_A * self.theta_inv, self._base_B * self.theta_inv)
        spk_h = torch.zeros(batch, shape.hidden)
        spk_m = torch.zeros(batch, shape.cells * shape.order)
        outputs = []
        for step in range(steps):
            x = encode(samples[step])
            spk_u = u(
                F.linear(x, self.e_x, self.bias_x)
                + F.linear(spk_h, self.e_h, self.bias_h)
                + F.linear(spk_m, self.e_m, self.bias_m)
            )
            cells = spk_m.view(batch, shape.cells, shape.order)
            spk_m = m(F.linear(cells, a) + F.linear(spk_u.unsqueeze(-1), b))
            spk_m = spk_m.reshape(batch, -1)
            spk_h = h(F.linear(x, self.W_x) + F.linear(spk_h, self.W_h) + F.linear(spk_m, self.W_m))
            outputs.append(out(self.output_transformation(spk_h)))
        return torch.stack(outputs)

    def hyper_parameters(self) -> dict:
        """What the authors' training writes beside a state_dict; sizes are floats there."""
        shape = self.shape
        sizes = {
            "memory_size": float(shape.cells),
            "order": float(shape.order),
            "hidden_size": float(shape.hidden),
            "theta": shape.theta,
            "pop_size": float(shape.pop),
            "encoding_size": float(shape.encoding),
            "output_transformer_size": float(shape.encoded),
        }
        dynamics = {
            f"{key}_spk_{name}": value
            for name, values in self.values.items()
            for key, value in values.items()
        }
        return sizes | dynamics


class Cell(nn.Module):
    """Lightning layout's inner cell: bias-free linears and neurons that keep their own state."""

    def __init__(self, shape: Shape, values: dict[str, dict[str, float]], kind: str) -> None:
        super().__init__()
        memory = shape.cells * shape.order
        self.shape = shape
        for name, columns, rows in (
            ("e_x", shape.inputs, shape.cells),
            ("e_h", shape.hidden, shape.cells),
            ("e_m", memory, shape.cells),
            ("W_x", shape.inputs, shape.hidden),
            ("W_h", shape.hidden, shape.hidden),
            ("W_m", memory, shape.hidden),
            ("A", shape.order, shape.order),
            ("B", 1, shape.order),
        ):
            linear = nn.Linear(columns, rows, bias=False)
            linear.weight.data = torch.randn(rows, columns) * 0.5
            self.add_module(name, linear)
        a, b = (torch.tensor(m, dtype=torch.float32) / shape.theta for m in continuous(shape.order))
        self.A.weight.data, self.B.weight.data = held(a.T, b.T)
        self.output_transformation = nn.Linear(shape.hidden, shape.classes)
        self.output_transformation.weight.data *= 2.0
        for name in ("u", "h", "m", "output"):
            learned = {"learn_beta": True, "learn_threshold": True, "init_hidden": True}
            self.add_module(f"spk_{name}", make_neuron(kind, values[name], **learned))

    def forward(self, x, spk_h, spk_m):
        shape = self.shape
        spk_u = self.spk_u(self.e_x(x) + self.e_h(spk_h) + self.e_m(spk_m))
        cells = spk_m.reshape(-1, shape.cells, shape.order)
        spk_m = self.spk_m(self.A(cells) + self.B(spk_u.unsqueeze(-1)))
        spk_m = spk_m.reshape(-1, shape.cells * shape.order)
        spk_h = self.spk_h(self.W_x(x) + self.W_h(spk_h) + self.W_m(spk_m))
        return self.spk_output(self.output_transformation(spk_h)), spk_h, spk_m


class CellNet(nn.Module):
    """The Lightning module's network, ``l2mu_cell`` inside. Samples ``[T, B, I]`` to spikes."""

    def __init__(self, kind: str = "leaky", shape: Shape | None = None, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.shape = shape or Shape()
        draw = np.random.default_rng(seed).uniform
        self.values = {
            name: {"beta": draw(0.5, 0.95), "threshold": draw(0.2, 0.6), "alpha": draw(0.2, 0.7)}
            for name in ("u", "h", "m", "output")
        }
        self.l2mu_cell = Cell(self.shape, self.values, kind)
        self.eval()

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        cell, shape = self.l2mu_cell, self.shape
        for neuron in (cell.spk_u, cell.spk_m, cell.spk_h, cell.spk_output):
            neuron.reset_mem()
        spk_h = torch.zeros(samples.shape[1], shape.hidden)
        spk_m = torch.zeros(samples.shape[1], shape.cells * shape.order)
        outputs = []
        for sample in samples:
            spikes, spk_h, spk_m = cell(sample, spk_h, spk_m)
            outputs.append(spikes)
        return torch.stack(outputs)

    def checkpoint(self, prefix: str = "model.") -> dict:
        """What Lightning's trainer saves: much more than the weights."""
        shape = self.shape
        params = {
            "memory_size": float(shape.cells),
            "order": float(shape.order),
            "hidden_size": float(shape.hidden),
            "theta": shape.theta,
        }
        for name, values in self.values.items():
            params |= {f"{key}_spk_{name}": value for key, value in values.items()}
        return {
            "epoch": 12,
            "global_step": 3400,
            "pytorch-lightning_version": "2.4.0",
            "state_dict": prefixed(self.state_dict(), prefix),
            "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"current": {"ready": 13}}}},
            "callbacks": {
                "ModelCheckpoint": {"best_model_score": torch.tensor(0.9), "dirpath": "x"}
            },
            "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": []}],
            "lr_schedulers": [],
            "hparams_name": "kwargs",
            "hyper_parameters": {
                "num_inputs": shape.inputs,
                "num_outputs": shape.classes,
                "architecture": "l2mu",
                "params": params,
            },
        }


def as_linears(state: dict) -> dict:
    """A raw state_dict with its matrices as weights of bias-free linears, as published later."""
    matrices = ("e_x", "e_h", "e_m", "W_x", "W_h", "W_m", "A", "B")
    return {f"{key}.weight" if key in matrices else key: value for key, value in state.items()}


def lightning(state: dict, hyper: dict) -> dict:
    """What Lightning saves of a state_dict and its hyper-parameters, its own records apart."""
    sizes = {"num_inputs": 6, "num_outputs": 3, "architecture": "L2MU"}
    return {
        "epoch": 7,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": state,
        "hparams_name": "kwargs",
        "hyper_parameters": {**sizes, "params": hyper},
    }


def prefixed(state: dict, prefix: str) -> dict:
    return {prefix + key: value.detach().clone() for key, value in state.items()}


def save_state(state: dict, path, hyper: dict | None = None) -> None:
    """A state_dict in the file type its suffix says; ``hyper`` as JSON beside it."""
    if path.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    else:
        torch.save(state, path)
    if hyper is not None:
        path.with_suffix(".json").write_text(json.dumps(hyper))


def samples(shape: Shape | None = None, steps: int = 12, batch: int = 10, seed: int = 5):
    """Random windows ``[T, B, I]`` that make these networks spike."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, batch, (shape or Shape()).inputs, generator=generator) * 1.5


def spikes_of(module: nn.Module, x: torch.Tensor | None = None) -> np.ndarray:
    """Output spikes of a module as bools, checked to be neither silent nor saturated."""
    with torch.no_grad():
        spikes = module(samples() if x is None else x).numpy() > 0
    assert 0.01 < spikes.mean() < 0.99, f"a dull test model: {spikes.mean():.3f} spikes per step"
    return spikes
