"""tune-activity: a network is trained to decide as well with fewer spikes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from l2mu_compile.errors import UsageError
from l2mu_compile.network import Network
from l2mu_compile.passbase import Context
from l2mu_compile.training_pass import TrainingPass


@dataclass(frozen=True)
class TuneActivity(TrainingPass):
    """Requires labelled windows and a network before planning; keeps its structure; lossy.

    As `fine-tune`, but with a price on synaptic operations, spikes times the neurons that each
    reaches, as what compiled code takes follows these. Training aims at a share ``activity`` of
    those there were, by and by during most of its epochs. The result is the epoch with the fewest
    operations on the validation windows, of those whose share of right decisions there is at most
    ``tolerance`` less than it was; where none of them has fewer, the network stays as it is.
    """

    name: ClassVar[str] = "tune-activity"
    activity: float = 0.5
    tolerance: float = 0.005
    memory: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.activity <= 1:
            raise UsageError(
                f"tune-activity: activity must be above 0 and at most 1, not {self.activity:g}"
            )
        self.require("tolerance", 0.0, 1.0)

    def apply(self, network: Network, context: Context) -> Network:
        return self.trained(
            network,
            context,
            memory=self.memory,
            activity=self.activity,
            tolerance=self.tolerance,
        )
