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
    """Base of passes that train on labelled windows (`l2mu_compile.training`).

    A share ``distill`` of what they aim at is how likely the model, as it was given, finds every
    class, and the rest the label.
    """

    least_epochs: ClassVar[int] = 1

    epochs: int = 10
    learning_rate: float = 2e-3
    batch: int = 64
    seed: int = 0
    distill: float = 0.0

    def __post_init__(self) -> None:
        self.require("epochs", self.least_epochs, MAX_EPOCHS)
        self.require("learning_rate", 1e-9, 1.0)
        self.require("batch", 1, 2**20)
        self.require("seed", 0, 2**63 - 1)
        self.require("distill", 0.0, 1.0)

    def trained(self, network: Network, context: Context, **recipe: Any) -> Network:
        """The best network that training finds, with notes of what came of it. ``recipe`` is what
        `Recipe` has besides these options."""
        if context.labelled is None:
            raise UsageError(
                f"{self.name} needs labelled windows: use l2mu-compile tune --data FILE"
            )
        if self.distill and context.original is None:
            raise UsageError(f"{self.name}: distill needs the model as it was given, to learn from")
        from l2mu_compile.training import Recipe, fine_tune

        options = Recipe(
            *(self.epochs, self.learning_rate, self.batch, self.seed),
            distill=self.distill,
            **recipe,
        )
        found = fine_tune(
            network, context.labelled, options, context.progress, context.kept, context.original
        )
        for line in found.told():
            context.note(f"{self.name}: {line}")
        return found.network
