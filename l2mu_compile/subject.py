"""What is looked at: a model, or the directory that compiling, tuning or searching left, with what
there is to compare it with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from l2mu_compile.compiled import COMPILED, FLOAT_FILE, NETWORK_FILE, REPORT_FILE, SEARCH_FILE
from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.frontend import read_network
from l2mu_compile.making import model_of
from l2mu_compile.network import Network
from l2mu_compile.paths import printable
from l2mu_compile.recipe import ModelTable
from l2mu_compile.report import Report, Source, load_report, load_report_file
from l2mu_compile.text import network_digest
from l2mu_compile.tuning import TUNE_FILE, TuneReport
from l2mu_compile.windows import Windows

AS_GIVEN = "the network as given"


@dataclass(frozen=True)
class Subject:
    """``network`` with the ``report`` on it; ``original`` is what it is compared with, which
    ``original_name`` names."""

    network: Network
    source: Source
    report: Report | TuneReport | None = None
    original: Network | None = None
    original_name: str = ""
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the network is called beside the original."""
        if self.report is None:
            return self.network.name
        return "compiled" if isinstance(self.report, Report) else "tuned"


def load_subject(
    path: Path | None, against: Path | None, said: ModelTable, windows: Windows | None
) -> Subject:
    """Load what is looked at. What is ``said`` is about the model at ``path``, or, where that is a
    directory, about ``against``.

    Raises `ModelError` for files that are damaged or do not belong together, `UsageError` for
    arguments that do not.
    """
    if path is not None and path.is_dir():
        return _directory(path, against, said, windows)
    network, source, notes = _model(path, said, windows)
    subject = Subject(network, source, notes=notes)
    return _against(subject, against, ModelTable(), windows)


def _directory(
    folder: Path, against: Path | None, said: ModelTable, windows: Windows | None
) -> Subject:
    if (folder / SEARCH_FILE).exists():
        folder = folder / COMPILED
    if (folder / REPORT_FILE).exists():
        report: Report | TuneReport = load_report(folder / REPORT_FILE)
    elif (folder / TUNE_FILE).exists():
        report = load_report_file(folder / TUNE_FILE, TuneReport)
    else:
        raise ModelError(
            f"{folder}: holds none of {REPORT_FILE}, {TUNE_FILE} and {SEARCH_FILE}; give what "
            "`compile`, `tune` or `search` wrote, a checkpoint or a network text"
        )
    network = read_network(folder / NETWORK_FILE)
    if network_digest(network) != report.digest:
        raise ModelError(f"{folder / NETWORK_FILE}: has changed since its report was written")
    subject = Subject(network, report.source, report, notes=tuple(report.notes))
    if isinstance(report, Report) and against is None and said == ModelTable():
        return _compared(subject, read_network(folder / FLOAT_FILE), AS_GIVEN)
    return _against(subject, against, said, windows)


def _against(
    subject: Subject, path: Path | None, said: ModelTable, windows: Windows | None
) -> Subject:
    """``subject`` beside the model at ``path``, if one is given."""
    if path is None and said == ModelTable():
        return subject
    if path is not None and path.is_dir():
        other = _directory(path, None, ModelTable(), windows)
        return _compared(subject, other.network, printable(path.name))
    original, source, notes = _model(path, said, windows)
    return replace(_compared(subject, original, source.name), notes=(*subject.notes, *notes))


def _compared(subject: Subject, original: Network, name: str) -> Subject:
    mine, theirs = ((n.input.size, n.classes) for n in (subject.network, original))
    if mine != theirs:
        raise UsageError(
            f"{name}: maps {theirs[0]} channels to {theirs[1]} classes, but what it is compared "
            f"with maps {mine[0]} to {mine[1]}"
        )
    return replace(subject, original=original, original_name=name)


def _model(
    path: Path | None, said: ModelTable, windows: Windows | None
) -> tuple[Network, Source, tuple[str, ...]]:
    model = model_of(said.model_copy(update={"checkpoint": path}), Path(), windows)
    return model.network, model.source, model.notes
