"""The L2MU module's forward pass, arranged for training on a CPU.

`forward` computes what ``L2MU.forward`` does for leaky neurons that reset by subtraction, with the
same surrogate gradients. It is several times faster because the encoder, which sees no feedback,
runs one layer at a time over all time steps, and because the recurrent part has its backward pass
written out: one product per weight matrix and batch instead of one per time step.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from l2mu_compile.l2mu import L2MU

SLOPE = 10.0  # of the fast-sigmoid surrogate


def forward(model: L2MU, x: Tensor, drop: float = 0.0) -> dict[str, Tensor]:
    """Spikes ``[T, B, size]`` of every population for samples ``[T, B, inputs]``.

    The six channel populations are one, ``channels``. With ``drop``, a part of the encoder's and
    the hidden neurons are silent to their readers for a whole window (dropout).
    """
    encoder = model.input_encoder
    neurons = encoder.spk_hidden_encoder_list
    weight = torch.cat([linear.weight[:, 0] for linear in encoder.hidden_encoder_list])
    bias = torch.cat([linear.bias for linear in encoder.hidden_encoder_list])
    repeated = x.repeat_interleave(model.config.pop_size, dim=2)
    beta, threshold = (torch.cat([getattr(n, k) for n in neurons]) for k in ("beta", "threshold"))
    channels = Scan.apply(repeated * weight + bias, beta, threshold)
    encoded = lif(encoder.spk_encoder, encoder.encoder(channels))
    decoded = lif(encoder.spk_decoder, encoder.decoder(encoded))
    u, m, h = core(model, silence(decoded, drop))
    output = lif(model.spk_output, model.output_transformation(silence(h, drop)))
    spikes = {"channels": channels, "encoder": encoded, "decoder": decoded}
    return {**spikes, "u": u, "m": m, "h": h, "output": output}


def silence(spikes: Tensor, drop: float) -> Tensor:
    """Spikes ``[T, B, N]`` with each neuron of each window dropped with probability ``drop``."""
    if not drop:
        return spikes
    return spikes * (torch.rand(spikes.shape[1:]) >= drop) / (1.0 - drop)


def lif(neuron: nn.Module, current: Tensor) -> Tensor:
    """Spikes of one population over all time steps ``[T, B, N]``, from its input current."""
    return Scan.apply(current, neuron.beta, neuron.threshold)


def core(model: L2MU, decoded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes of u, m and h over all time steps, from the encoder's ``[T, B, N]``."""
    a, b = model.memory_matrices()
    populations = (model.spk_u, model.spk_m, model.spk_h)
    dynamics = [p for n in populations for p in (n.beta, n.threshold)]
    inputs = F.linear(decoded, model.e_x), F.linear(decoded, model.W_x)
    weights = model.e_h, model.e_m, model.W_h, model.W_m
    return Core.apply(*inputs, *weights, a, b, *dynamics)


def surrogate(potential: Tensor, threshold: Tensor) -> Tensor:
    """Derivative of the fast sigmoid at the distance from threshold."""
    return (potential - threshold).abs_().mul_(SLOPE).add_(1.0).square_().reciprocal_()


def integrate(v: Tensor, t: int, current: Tensor, s: Tensor, beta: Tensor, thr: Tensor) -> None:
    """Step ``t`` of a population: ``v[t] = beta v[t-1] + current - thr s[t-1]``; then spikes."""
    if t == 0:
        v[0] = current
    else:
        torch.addcmul(current, v[t - 1], beta, out=v[t])
        v[t].addcmul_(s[t - 1], thr, value=-1.0)
    torch.gt(v[t], thr, out=s[t])


def dynamics_gradients(
    direct: Tensor, total: Tensor, v: Tensor, s: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of beta and threshold ``[N]``.

    ``direct`` is the gradient that reaches each potential through its own spike; ``total`` also
    has what comes back from the next step's potential.
    """
    beta = (total[1:] * v[:-1]).sum((0, 1))
    return beta, -direct.sum((0, 1)) - (total[1:] * s[:-1]).sum((0, 1))


def product(grad: Tensor, spikes: Tensor) -> Tensor:
    """Gradient ``[N, K]`` of a weight matrix, summed over time and batch."""
    return grad.flatten(0, 1).T @ spikes.flatten(0, 1)


class Scan(torch.autograd.Function):
    """A population without feedback: currents ``[T, B, N]``, beta, threshold ``[N]`` to spikes."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, beta: Tensor, threshold: Tensor) -> Tensor:
        v, s = torch.empty_like(current), torch.empty_like(current)
        for t in range(len(current)):
            integrate(v, t, current[t], s, beta, threshold)
        ctx.save_for_backward(v, s, beta, threshold)
        return s

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        v, s, beta, threshold = ctx.saved_tensors
        direct = surrogate(v, threshold).mul_(grad)
        total = direct.clone()
        for t in range(len(total) - 2, -1, -1):
            total[t].addcmul_(total[t + 1], beta)
        return total, *dynamics_gradients(direct, total, v, s)


class Core(torch.autograd.Function):
    """The recurrent populations u, m and h with their three feedback paths."""

    @staticmethod
    def forward(ctx: Any, x_u: Tensor, x_h: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        e_h, e_m, w_h, w_m, a, b, beta_u, thr_u, beta_m, thr_m, beta_h, thr_h = parameters
        steps, batch, cells = x_u.shape
        v_u, s_u, v_h, s_h = (torch.empty_like(x) for x in (x_u, x_u, x_h, x_h))
        v_m, s_m = (x_u.new_empty(steps, batch, cells * len(a)) for _ in range(2))
        for t in range(steps):
            current = x_u[t]
            if t:
                current = torch.addmm(current, s_h[t - 1], e_h.T).addmm_(s_m[t - 1], e_m.T)
            integrate(v_u, t, current, s_u, beta_u, thr_u)
            current = s_u[t].unsqueeze(2) * b[:, 0]
            if t:
                current = current + s_m[t - 1].view(batch, cells, -1) @ a.T
            integrate(v_m, t, current.flatten(1), s_m, beta_m, thr_m)
            current = torch.addmm(x_h[t], s_m[t], w_m.T)
            if t:
                current.addmm_(s_h[t - 1], w_h.T)
            integrate(v_h, t, current, s_h, beta_h, thr_h)
        ctx.save_for_backward(v_u, s_u, v_m, s_m, v_h, s_h, *parameters)
        return s_u, s_m, s_h

    @staticmethod
    def backward(ctx: Any, g_u: Tensor, g_m: Tensor, g_h: Tensor) -> tuple[Tensor | None, ...]:
        v_u, s_u, v_m, s_m, v_h, s_h, *parameters = ctx.saved_tensors
        e_h, e_m, w_h, w_m, a, b, beta_u, thr_u, beta_m, thr_m, beta_h, thr_h = parameters
        steps, batch, cells = s_u.shape
        slope_u, slope_m, slope_h = (
            surrogate(*pair) for pair in ((v_u, thr_u), (v_m, thr_m), (v_h, thr_h))
        )
        g_u, g_m, g_h = g_u.clone(), g_m.clone(), g_h.clone()  # become gradients of spikes
        d_u, d_m, d_h = (torch.empty_like(g) for g in (g_u, g_m, g_h))  # and of potentials
        for t in range(steps - 1, -1, -1):
            after = t + 1 < steps
            if after:
                g_h[t].addmm_(d_u[t + 1], e_h).addmm_(d_h[t + 1], w_h)
                g_m[t].addmm_(d_u[t + 1], e_m)
                g_m[t] += (d_m[t + 1].view(batch, cells, -1) @ a).flatten(1)
            torch.mul(g_h[t], slope_h[t], out=d_h[t])
            if after:
                d_h[t].addcmul_(d_h[t + 1], beta_h)
            g_m[t].addmm_(d_h[t], w_m)
            torch.mul(g_m[t], slope_m[t], out=d_m[t])
            if after:
                d_m[t].addcmul_(d_m[t + 1], beta_m)
            g_u[t] += d_m[t].view(batch, cells, -1) @ b[:, 0]
            torch.mul(g_u[t], slope_u[t], out=d_u[t])
            if after:
                d_u[t].addcmul_(d_u[t + 1], beta_u)
        weights = (
            product(d_u[1:], s_h[:-1]),
            product(d_u[1:], s_m[:-1]),
            product(d_h[1:], s_h[:-1]),
            product(d_h, s_m),
        )
        dynamics = (
            *dynamics_gradients(g_u.mul_(slope_u), d_u, v_u, s_u),
            *dynamics_gradients(g_m.mul_(slope_m), d_m, v_m, s_m),
            *dynamics_gradients(g_h.mul_(slope_h), d_h, v_h, s_h),
        )
        return (d_u, d_h, *weights, None, None, *dynamics)
