"""Fine-tuning: a network trained on labelled windows, and never worse than it was.

Cross-entropy of the readout's scores, and a price on populations that spike more than they did, as
the cost of compiled code follows the spikes; where they are to spike less than they did, there is
one on synaptic operations too. What a teacher, the network that all began with, makes of a window
may take most of its label's place (distillation, Hinton, Vinyals and Dean 2015, arXiv 1503.02531):
how likely each class is says more than which one it is. Adam (Kingma and Ba 2015, arXiv 1412.6980)
with a learning rate that falls to zero along half a cosine. After every epoch the network as it
would be compiled runs the validation windows in the interpreter. The best of all epochs and of the
network as it came is kept: the one with more windows right or, among equals, with the lower loss,
or else the earlier. Where fewer operations are asked for, it is the one with the fewest of those
that decide about as well as the network as it came.

Everything is drawn from seeds and computed in one thread, so the same call gives the same network,
also when it goes on from what a killed one has kept.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from l2mu_compile import __version__
from l2mu_compile.errors import ModelError
from l2mu_compile.interpreter import Progress, run
from l2mu_compile.kept import Kept
from l2mu_compile.labelled import LabelledWindows
from l2mu_compile.network import Network
from l2mu_compile.preserve import one_thread
from l2mu_compile.restrain import restrained
from l2mu_compile.samples import taken
from l2mu_compile.text import network_digest
from l2mu_compile.torch_network import NetworkModule
from l2mu_compile.torch_run import Activity
from l2mu_compile.windows import Windows

CHUNK = 256  # windows the interpreter runs at a time
LOGIT_PER_RATE = 15.0  # of an output that spikes at every step
LOGIT_SPREAD = 2.0  # standard deviation of membranes' logits before training
MAX_NORM = 1.0  # of a batch's gradient
RATE_PRICE = 0.3  # of a population that spikes twice as often as before
OPERATIONS_PRICE = 40.0  # of twice as many as are aimed at
RAMP = 0.8  # share of a training in which the aim comes down to what is asked for
LEAST_RATE = 0.05  # spikes per neuron and step; quieter populations may spike as often for free


@dataclass(frozen=True)
class Score:
    """``right`` of ``windows`` decisions, and the mean cross-entropy ``loss``; mean ``spikes`` and
    synaptic ``operations`` of a step."""

    right: int
    windows: int
    loss: float
    spikes: float
    operations: float

    @property
    def accuracy(self) -> float:
        return self.right / self.windows

    @property
    def spent(self) -> str:
        """Spikes and operations in words."""
        return f"{self.spikes:.1f} spikes and {self.operations:.0f} synaptic operations a step"

    def better_than(self, other: Score) -> bool:
        """More windows right or, among equals, a lower loss."""
        return self.right > other.right or (self.right == other.right and self.loss < other.loss)


@dataclass(frozen=True)
class Recipe:
    """``learning_rate`` counts in thresholds; ``memory`` trains blocks that cells share, too.

    With ``activity`` this share of the synaptic operations is what training aims at, and the fewest
    are what it keeps, at the price of a share ``tolerance`` of the decisions at most. A share
    ``distill`` of the loss asks for a teacher's opinion, and the rest for the label.
    """

    epochs: int
    learning_rate: float
    batch: int
    seed: int = 0
    memory: bool = False
    activity: float | None = None
    tolerance: float = 0.0
    distill: float = 0.0

    def prefers(self, found: Score, best: Score, before: Score) -> bool:
        """Whether ``found`` is to be kept rather than ``best``; ``before`` is what training began
        with."""
        if self.activity is None or found.operations == best.operations:
            return found.better_than(best)
        lost = (before.right - found.right) / before.windows
        return lost <= self.tolerance and found.operations < best.operations


@dataclass(frozen=True)
class Tuned:
    """The best network, its score, and the ``epoch`` of ``recipe`` that it is from (0: ``network``
    is as it came)."""

    network: Network
    before: Score
    after: Score
    epoch: int
    recipe: Recipe
    diverged: bool = False

    def told(self) -> list[str]:
        """What came of it, in words."""
        lines = ["training diverged and ended; try a smaller learning_rate"] * self.diverged
        right = f"{100 * self.before.accuracy:.2f} % of validation windows right"
        if not self.epoch:
            spared = self.recipe.activity is not None
            better = "took fewer operations and decided as well" if spared else "was better"
            return [*lines, f"{right}; no epoch {better}, so the network stays"]
        after = (
            f"{100 * self.after.accuracy:.2f} % after epoch {self.epoch} of {self.recipe.epochs}"
        )
        lines.append(f"{right} before, {after}")
        if self.recipe.activity is not None:
            lines.append(f"{self.before.spent} before, {self.after.spent} after")
        return lines


def score(network: Network, windows: Windows, logit: float = 1.0) -> Score:
    """Run labelled windows in the interpreter; a logit is ``logit`` times a readout's score."""
    assert windows.y is not None
    right, loss, spikes, operations = 0, 0.0, 0, 0
    for start in range(0, len(windows.x), CHUNK):
        part = run(network, windows.x[start : start + CHUNK])
        y = windows.y[start : start + CHUNK]
        right += int((part.decisions == y).sum())
        logits = torch.from_numpy(part.scores.astype(np.float64) * logit)
        loss += float(F.cross_entropy(logits, torch.from_numpy(y), reduction="sum"))
        spikes += sum(part.spike_totals.values())
        operations += part.operations
    count, steps, _ = windows.x.shape
    return Score(right, count, loss / count, spikes / (count * steps), operations / (count * steps))


def logit_scale(network: Network, windows: Windows) -> float:
    """What a readout's scores are multiplied with to become logits."""
    if network.readout.rule == "spike_count":
        return LOGIT_PER_RATE / taken(network, windows.x).shape[1]
    scores = run(network, windows.first(CHUNK).x).scores.astype(np.float64)
    spread = float(scores.std())
    return LOGIT_SPREAD / spread if 0 < spread < math.inf else 1.0


def fine_tune(
    network: Network,
    labelled: LabelledWindows,
    recipe: Recipe,
    progress: Progress | None = None,
    kept: Kept | None = None,
    teacher: Network | None = None,
) -> Tuned:
    """Train ``network`` on ``labelled.train``; the best on ``labelled.validation`` comes back.

    ``teacher`` is whose opinion ``recipe.distill`` asks for. ``progress`` counts batches. With
    ``kept`` every epoch is kept, and a run that was killed goes on after the last one.
    """
    with one_thread():
        return _Training(network, labelled, recipe, progress, kept, teacher).run()


def opinions(teacher: Network, windows: Windows) -> Tensor:
    """How likely every class of every window is to ``teacher``, float64 ``[N, classes]``."""
    starts = range(0, len(windows.x), CHUNK)
    parts = [run(teacher, windows.x[start : start + CHUNK]).scores for start in starts]
    logits = np.concatenate(parts).astype(np.float64) * logit_scale(teacher, windows)
    return torch.from_numpy(logits).softmax(dim=1)


def rates(network: Network, windows: Windows) -> dict[str, float]:
    """Spikes per neuron and step of each population that is not read out."""
    found = run(network, windows.first(CHUNK).x)
    hidden = (p for p in network.populations if p.name != network.readout.population)
    return {p.name: found.rate(p) for p in hidden}


class _Training:
    """A run; `_save` and `_load` name all that changes from epoch to epoch."""

    def __init__(
        self,
        network: Network,
        labelled: LabelledWindows,
        recipe: Recipe,
        progress: Progress | None,
        kept: Kept | None,
        teacher: Network | None,
    ) -> None:
        self.network, self.labelled, self.recipe = network, labelled, recipe
        self.progress, self.kept = progress, kept
        self.batches = math.ceil(len(labelled.train.x) / recipe.batch)
        self.logit = logit_scale(network, labelled.train)
        self.taught = None
        if recipe.distill:
            assert teacher is not None
            self.taught = opinions(teacher, labelled.train)
        self.price = None
        if recipe.activity is not None:
            self.price = _Price(network, labelled.train, recipe.activity)
        self.rates = {n: max(r, LEAST_RATE) for n, r in rates(network, labelled.train).items()}
        self.module = NetworkModule(network, recipe.memory)
        self.parameters = self.module.trained()
        if not self.parameters:
            raise ModelError(f"network {network.name} has only shared blocks to train: set memory")
        self.optimizer = torch.optim.Adam(self.parameters)
        for parameter in self.parameters:
            self._set_moments(parameter, 0, *(torch.zeros_like(parameter) for _ in range(2)))
        self.best = self._changes()
        self.epoch = self.best_epoch = 0
        self.diverged = False
        self.key = _key(network, labelled, recipe, teacher) if kept is not None else ""

    def run(self) -> Tuned:
        if not self._load():
            self.before = self.after = score(self.network, self.labelled.validation, self.logit)
        while self.epoch < self.recipe.epochs and not self.diverged:
            self._train()
            self.epoch += 1
            if not self.diverged:
                self._judge()
            self._save()
        self._set_changes(self.best)
        best = self.module.network() if self.best_epoch else self.network
        return Tuned(best, self.before, self.after, self.best_epoch, self.recipe, self.diverged)

    def _train(self) -> None:
        """One epoch: every window once."""
        x, y = self.labelled.train.x, self.labelled.train.y
        assert y is not None
        seeds = [self.labelled.seed, self.recipe.seed, self.epoch]
        order = np.random.default_rng(seeds).permutation(len(x))
        total = self.recipe.epochs * self.batches
        for batch in range(self.batches):
            done = self.epoch * self.batches + batch
            chosen = order[batch * self.recipe.batch :][: self.recipe.batch]
            activity = self.module(torch.from_numpy(x[chosen]), ("spikes",))
            self.optimizer.zero_grad()
            taught = None if self.taught is None else self.taught[chosen]
            loss = self._loss(activity, torch.from_numpy(y[chosen]), taught)
            loss.backward(retain_graph=self.price is not None)
            if self.price is not None:
                with self.module.local_gradients():
                    self.price.of(activity, done / total).backward()
            norm = nn.utils.clip_grad_norm_(self.parameters, MAX_NORM)
            if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
                self.diverged = True
                return
            rate = self.recipe.learning_rate * (1 + math.cos(math.pi * done / total)) / 2
            self.optimizer.param_groups[0]["lr"] = rate
            self.optimizer.step()
            self.module.keep_allowed()
            if self.progress:
                self.progress(done + 1, total)

    def _loss(self, activity: Activity, y: Tensor, taught: Tensor | None) -> Tensor:
        logits = activity.scores.double() * self.logit
        loss = F.cross_entropy(logits, y)
        if taught is not None:
            loss = torch.lerp(loss, F.cross_entropy(logits, taught), self.recipe.distill)
        for name, before in self.rates.items():
            more = F.relu(activity.spikes[name].mean() / before - 1)
            loss = loss + RATE_PRICE * more.square()
        return loss

    def _judge(self) -> None:
        """Score the network as it would be compiled, and keep the best."""
        trained = self.module.network()
        network = restrained(trained, self.network)
        if network is not trained:
            self.module.adopt(network)
        found = score(network, self.labelled.validation, self.logit)
        if self.recipe.prefers(found, self.after, self.before):
            self.after, self.best, self.best_epoch = found, self._changes(), self.epoch

    def _save(self) -> None:
        if self.kept is None:
            return
        states = [self.optimizer.state[p] for p in self.parameters]
        arrays = {
            "change": self._changes(),
            "best": self.best,
            "mean": [state["exp_avg"] for state in states],
            "square": [state["exp_avg_sq"] for state in states],
        }
        values = {
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "diverged": self.diverged,
            "before": asdict(self.before),
            "after": asdict(self.after),
        }
        named = {f"{n}.{i}": t.numpy() for n, ts in arrays.items() for i, t in enumerate(ts)}
        self.kept.save(self.key, named, values)

    def _load(self) -> bool:
        """Go on from what was kept; False if nothing was."""
        found = None if self.kept is None else self.kept.load(self.key)
        if found is None or self.kept is None:
            return False
        arrays, values = found

        def tensors(name: str) -> list[Tensor]:
            count = len(self.parameters)
            return [torch.from_numpy(arrays[f"{name}.{i}"].copy()) for i in range(count)]

        self._set_changes(tensors("change"))
        self.best = tensors("best")
        self.epoch, self.best_epoch = values["epoch"], values["best_epoch"]
        self.diverged = values["diverged"]
        self.before, self.after = Score(**values["before"]), Score(**values["after"])
        steps = self.epoch * self.batches
        for entry in zip(self.parameters, tensors("mean"), tensors("square"), strict=True):
            parameter, mean, square = entry
            self._set_moments(parameter, steps, mean, square)
        self.kept.say(f"going on after epoch {self.epoch} of {self.recipe.epochs}")
        return True

    def _set_moments(
        self, parameter: nn.Parameter, steps: int, mean: Tensor, square: Tensor
    ) -> None:
        step = torch.tensor(float(steps))
        self.optimizer.state[parameter] = {"step": step, "exp_avg": mean, "exp_avg_sq": square}

    @torch.no_grad()
    def _changes(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def _set_changes(self, changes: list[Tensor]) -> None:
        for parameter, change in zip(self.parameters, changes, strict=True):
            parameter.copy_(change)


class _Price:
    """What synaptic operations beyond a share ``activity`` of those there were cost."""

    def __init__(self, network: Network, windows: Windows, activity: float) -> None:
        found = run(network, windows.first(CHUNK).x, record=("spikes",))
        self.activity = activity
        self.fan_outs = {
            p.name: torch.from_numpy(sum((out.fan_outs for out in outs), np.zeros(p.size)))
            for p in network.populations
            if (outs := network.out_of(p.name))
        }
        self.before = found.operations_per_step or 1.0
        spikes = {name: torch.from_numpy(trains) for name, trains in found.spikes.items()}
        self.sampled = found.operations_per_step - self._own(spikes).item()

    def of(self, activity: Activity, done: float) -> Tensor:
        """The price of a batch, when a share ``done`` of the training is; the aim comes down to
        what is asked for geometrically."""
        operations = self._own(activity.spikes) + self.sampled
        aim = self.activity ** min(done / RAMP, 1.0)
        return OPERATIONS_PRICE * F.relu(operations / (self.before * aim) - 1).square()

    def _own(self, spikes: dict[str, Tensor]) -> Tensor:
        """Operations a step that neurons' spikes, ``[B, T, n]`` by population, make."""
        rates = [
            spikes[name].double().mean((0, 1)) @ count for name, count in self.fan_outs.items()
        ]
        return torch.stack(rates).sum()


def _key(
    network: Network, labelled: LabelledWindows, recipe: Recipe, teacher: Network | None
) -> str:
    """Digest of all that the course of a training depends on."""
    parts: list[Any] = [__version__, torch.__version__, network_digest(network), asdict(recipe)]
    parts += [labelled.seed, labelled.digest()]
    if recipe.distill and teacher is not None:
        parts.append(network_digest(teacher))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
