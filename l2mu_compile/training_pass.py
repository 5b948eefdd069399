"""What passes that train have in common: their options, and how they call training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from l2mu_compile.errors import UsageError
from l2mu_compile.network import Network
from l2mu_compile.passbase import Context, Pass

MAX_EPOCHS = 10**6


@dataclass(frozen=True)
class TrainingPass(Pass):
    """Base of passes that train on labelled windows (`l2mu_compile.training`)."""

    least_epochs: ClassVar[int] = 1

    epochs: int = 10
    learning_rate: float = 2e-3
    batch: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        self.require("epochs", self.least_epochs, MAX_EPOCHS)
        self.require("learning_rate", 1e-9, 1.0)
        self.require("batch", 1, 2**20)
        self.require("seed", 0, 2**63 - 1)

    def trained(self, network: Network, context: Context, **recipe: Any) -> Network:
        """The best network that training finds, with notes of what came of it. ``recipe`` is what
        `Recipe` has besides these options."""
        if context.labelled is None:
            raise UsageError(
                f"{self.name} needs labelled windows: use l2mu-compile tune --data FILE"
            )
        from l2mu_compile.training import Recipe, fine_tune

        options = Recipe(self.epochs, self.learning_rate, self.batch, self.seed, **recipe)
        found = fine_tune(network, context.labelled, options, context.progress, context.kept)
        for line in found.told():
            context.note(f"{self.name}: {line}")
        return found.network
