"""The passes: one per file, each a frozen dataclass. Listed here once, by command-line name."""

from __future__ import annotations

from l2mu_compile.passbase import Pass
from l2mu_compile.passes.calibrate import Calibrate
from l2mu_compile.passes.detect_spikes import DetectSpikes
from l2mu_compile.passes.early_exit import EarlyExit
from l2mu_compile.passes.fine_tune import FineTune
from l2mu_compile.passes.fold_input import FoldInput
from l2mu_compile.passes.fold_threshold import FoldThreshold
from l2mu_compile.passes.plan_memory import PlanMemory
from l2mu_compile.passes.prune_population import PrunePopulation
from l2mu_compile.passes.prune_synapses import PruneSynapses
from l2mu_compile.passes.quantize import Quantize
from l2mu_compile.passes.remove_dead import RemoveDead
from l2mu_compile.passes.select_kernels import SelectKernels
from l2mu_compile.passes.shorten_window import ShortenWindow
from l2mu_compile.passes.tune_activity import TuneActivity

PASSES: dict[str, type[Pass]] = {
    p.name: p
    for p in (
        FoldInput,
        RemoveDead,
        FoldThreshold,
        DetectSpikes,
        ShortenWindow,
        Calibrate,
        PrunePopulation,
        PruneSynapses,
        Quantize,
        FineTune,
        TuneActivity,
        EarlyExit,
        SelectKernels,
        PlanMemory,
    )
}
