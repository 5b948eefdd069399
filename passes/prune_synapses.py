"""prune-synapses: weights that the network needs least become zero."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.network import Network
from l2mu_compile.passbase import Context
from l2mu_compile.passes.remove_dead import RemoveDead
from l2mu_compile.samples import check_samples
from l2mu_compile.surgery import Masks, keep_synapses
from l2mu_compile.synapses import by_contribution, by_magnitude, synapses_to_keep, zeros
from l2mu_compile.training_pass import TrainingPass
from l2mu_compile.windows import spread

MAX_ROUNDS, MAX_TILE = 1000, 1024


@dataclass(frozen=True)
class PruneSynapses(TrainingPass):
    """Requires a network before planning; sets weights of dense projections to zero; lossy.

    Of the synapses of dense projections (not those of blocks and onto memory cells, which are what
    a memory is made of) the share ``sparsity`` is zero afterwards; those that were already, count.
    Those worth least go first, all over the network or ``within`` each projection, by
    ``criterion``: ``magnitude``, their weight in thresholds of its neuron, or ``contribution``,
    that times how much their source is active on at most ``windows`` calibration windows. Every
    projection, and every neuron that no block reaches, keeps at least one: a share that leaves
    less is an error. Neurons that reach nothing any more are left to `remove-dead`.

    ``tile`` neighbouring neurons' synapses of one source go together, or stay together, so that a
    device which works on so many at once is spared work. Only tiles that are zero as a whole count.
    Tiles are of neurons as they are numbered now: passes that remove some should run before.

    With ``rounds``, each round removes the same share of what is left, and with ``epochs`` each
    ends with a training of what stays, as `fine-tune` does it, never worse on the validation
    windows than what it began with. What goes in the next round is then chosen by trained weights.
    With ``rewind`` every training, the last one too, starts from weights, biases and thresholds as
    they were before the pass, without those synapses that have left so far; else from those that
    the round before found. That is iterative magnitude pruning as for lottery tickets (Frankle and
    Carbin 2019, arXiv 1803.03635), but rewound to the network as it comes, not to an untrained one.
    """

    name: ClassVar[str] = "prune-synapses"
    least_epochs: ClassVar[int] = 0

    epochs: int = 0
    sparsity: float = 0.5
    tile: int = 1
    criterion: Literal["magnitude", "contribution"] = "magnitude"
    within: Literal["network", "projection"] = "network"
    rounds: int = 1
    rewind: bool = False
    windows: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.sparsity < 1:
            raise UsageError(
                f"prune-synapses: sparsity must be from 0 to below 1, not {self.sparsity:g}"
            )
        self.require("tile", 1, MAX_TILE)
        self.require("rounds", 1, MAX_ROUNDS)
        self.require("windows", 1, 2**20)
        if self.rewind and not self.epochs:
            raise UsageError("prune-synapses: rewind needs epochs to train again")

    def apply(self, network: Network, context: Context) -> Network:
        if network.stage == "planned":
            raise ModelError("prune-synapses must come before plan-memory")
        self.refuse_margins(network)
        found = network
        for number in range(1, self.rounds + 1):
            keep = self._kept(found, 1 - (1 - self.sparsity) ** (number / self.rounds), context)
            found = keep_synapses(network if self.rewind else found, keep)
            if self.epochs:
                found = self.trained(found, self._of_round(number, context))
        if found is not network:
            self._tell(network, found, context)
        return found

    def _kept(self, network: Network, share: float, context: Context) -> Masks:
        if self.criterion == "magnitude":
            worth = by_magnitude(network)
        elif context.samples is None:
            raise UsageError(
                "prune-synapses{criterion=contribution} needs windows: give --calibrate data.npz"
            )
        else:
            samples = check_samples(network, context.samples)
            worth = by_contribution(network, samples[spread(self.windows, len(samples))])
        return synapses_to_keep(network, worth, share, self.tile, self.within == "network")

    def _of_round(self, number: int, context: Context) -> Context:
        """The context of one training of several: their progress is that of the whole."""
        if self.rounds == 1:
            return context
        told, progress = context.note, context.progress

        def note(line: str) -> None:
            told(f"{line} (round {number} of {self.rounds})")

        def part(done: int, total: int) -> None:
            assert progress is not None
            progress((number - 1) * total + done, self.rounds * total)

        return replace(context, note=note, progress=progress and part)

    def _tell(self, before: Network, after: Network, context: Context) -> None:
        zero, synapses = zeros(after, self.tile)
        tiles = "" if self.tile == 1 else f", in tiles of {self.tile}"
        line = (
            f"{zero} of {synapses} synapses are zero{tiles}, {zeros(before, self.tile)[0]} before"
        )
        idle = _removable(after) - _removable(before)
        if idle > 0:
            line += f"; {idle} more neurons do nothing: remove-dead can take them out, exactly"
        context.note(f"prune-synapses: {line}")


def _removable(network: Network) -> int:
    """Neurons that `remove-dead` would remove."""
    left = RemoveDead().apply(network, Context())
    return sum(p.size for p in network.populations) - sum(p.size for p in left.populations)
