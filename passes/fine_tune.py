"""fine-tune: weights, biases and thresholds are trained on labelled windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from l2mu_compile.errors import UsageError
from l2mu_compile.network import Network
from l2mu_compile.passbase import Context, Pass

MAX_EPOCHS = 10**6


@dataclass(frozen=True)
class FineTune(Pass):
    """Requires labelled windows and a network before planning; keeps its structure; lossy.

    Weights, biases and thresholds are trained as the network computes with them, integers as
    integers (`l2mu_compile.torch_network`); decays stay, and so do blocks that memory cells share,
    unless ``memory`` is set. Weights of zero stay zero, proofs of sums keep holding. An update
    changes a weight by about ``learning_rate`` of its neuron's threshold. The result is never worse
    than its input on the validation windows (`l2mu_compile.training`).
    """

    name: ClassVar[str] = "fine-tune"
    epochs: int = 10
    learning_rate: float = 2e-3
    batch: int = 64
    seed: int = 0
    memory: bool = False

    def __post_init__(self) -> None:
        for option, low, high in (
            ("epochs", 1, MAX_EPOCHS),
            ("learning_rate", 1e-9, 1.0),
            ("batch", 1, 2**20),
            ("seed", 0, 2**63 - 1),
        ):
            value = getattr(self, option)
            if not low <= value <= high:
                raise UsageError(f"fine-tune: {option} must be from {low} to {high}, not {value}")

    def apply(self, network: Network, context: Context) -> Network:
        if context.labelled is None:
            raise UsageError("fine-tune needs labelled windows: use l2mu-compile tune --data FILE")
        from l2mu_compile.training import Recipe, fine_tune

        recipe = Recipe(self.epochs, self.learning_rate, self.batch, self.seed, self.memory)
        found = fine_tune(network, context.labelled, recipe, context.progress, context.kept)
        if found.diverged:
            context.note("fine-tune: training diverged and ended; try a smaller learning_rate")
        right = f"{100 * found.before.accuracy:.2f} % of validation windows right"
        if not found.epoch:
            context.note(f"fine-tune: {right}; no epoch was better, so the network stays")
            return network
        context.note(
            f"fine-tune: {right} before, {100 * found.after.accuracy:.2f} % after epoch "
            f"{found.epoch} of {self.epochs}"
        )
        return found.network
