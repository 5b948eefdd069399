"""A recipe made ready to be compiled: the model loaded, the job written down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from l2mu_compile.compiled import verify_output
from l2mu_compile.compiler import Job, compile_model
from l2mu_compile.errors import UsageError
from l2mu_compile.frontend import Model
from l2mu_compile.labels import load_labelled_model, read_labels
from l2mu_compile.passbase import Pass
from l2mu_compile.pipeline import default_pipeline, parse_pipeline
from l2mu_compile.provenance import JAVA_ARTIFACTS, Provenance
from l2mu_compile.recipe import ModelTable, PipelineTable, Recipe, TargetTable
from l2mu_compile.report import Report
from l2mu_compile.targets.backends import get_backend
from l2mu_compile.targets.boards import chosen_target
from l2mu_compile.targets.packaging.java_names import check_package
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.refine import refined
from l2mu_compile.windows import Windows, load_windows


@dataclass(frozen=True)
class Ready:
    """What `compile_model` takes, and the windows to verify on, if the recipe has some."""

    model: Model
    job: Job
    test: Windows | None


def ready(recipe: Recipe, root: Path, command: tuple[str, ...]) -> Ready:
    """Read what ``recipe`` names, relative to ``root``; ``command`` goes into report and sources.

    Raises `UsageError` and `ModelError` for whatever is wrong with the recipe or its files.
    """
    table = recipe.model
    record = target_of(recipe.target)
    calibrate, test = (
        None if path is None else load_windows(root / path)
        for path in (table.calibrate, table.test)
    )
    passes = passes_of(recipe.pipeline, calibrate is not None)
    model = model_of(table, root, calibrate, test)
    job = Job(
        target=record,
        passes=passes,
        windows=calibrate,
        backend=recipe.target.backend,
        board=recipe.target.board,
        window=table.window,
        hop=table.hop,
        artifacts=recipe.target.artifacts,
        java_package=recipe.target.java_package,
        command=command,
    )
    return Ready(model, job, test)


def make(recipe: Recipe, root: Path, origin: Provenance, output: Path) -> Report:
    """Compile a recipe, whose provenance is ``origin``, into ``output``, and verify it on its test
    windows.

    Raises what `ready`, `compile_model` and `verify_output` do.
    """
    made = ready(recipe, root, tuple(origin.command))
    report = compile_model(made.model, replace(made.job, provenance=origin), output)
    return report if made.test is None else verify_output(output, made.test)


def target_of(table: TargetTable) -> Target:
    """The record of a device. Raises `UsageError` for what is not known or goes not together."""
    record = refined(
        chosen_target(table.target, table.board), table.mcpu, table.mattr, table.float_abi
    )
    get_backend(table.backend).packages(record, table.artifacts)
    if table.java_package is not None:
        check_package(table.java_package)
        if not JAVA_ARTIFACTS & set(table.artifacts):
            raise UsageError("--java-package is for --artifact aar and --artifact java")
    return record


def passes_of(table: PipelineTable, calibrated: bool) -> tuple[Pass, ...]:
    """The passes of a pipeline, by default those for calibration windows or for none."""
    if table.passes is not None:
        return parse_pipeline(table.passes)
    return default_pipeline(table.quantize == "int8", calibrated)


def model_of(table: ModelTable, root: Path, *windows: Windows | None) -> Model:
    """The model that ``table`` means, its files relative to ``root``; classes may be named by
    ``windows``. Raises as `ready`."""
    checkpoint, params = (
        None if path is None else root / path for path in (table.checkpoint, table.params)
    )
    source = checkpoint, params, table.module, table.inputs, table.readout, table.name, table.nir
    classes = root / table.classes if isinstance(table.classes, Path) else table.classes
    labels = None if classes is None else read_labels(classes)
    model = load_labelled_model(source, labels, *windows)
    return model.with_input(_listed(table.input_scale), _listed(table.input_offset))


def _listed(numbers: tuple[float, ...] | None) -> list[float] | None:
    return None if numbers is None else list(numbers)
