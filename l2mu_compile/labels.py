"""Where names of classes come from: what the user says, the model itself, or a file of windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from l2mu_compile.errors import UsageError
from l2mu_compile.frontend import Model, load_model_for
from l2mu_compile.windows import Windows

MAX_FILE_BYTES = 1 << 20


def load_labelled_model(
    source: tuple[Any, ...], labels: tuple[str, ...] | None, *files: Windows | None
) -> Model:
    """What `load_model_for` loads from ``source`` for the first of ``files``, if any, its classes
    named by ``labels`` or as any of the files name them."""
    files = files or (None,)
    model = load_model_for(files[0], *source)
    for windows in files:
        model = with_labels(model, labels, windows)
    return model


def with_labels(model: Model, labels: tuple[str, ...] | None, windows: Windows | None) -> Model:
    """``model`` with the names ``labels``, else its own, else those of ``windows``.

    Raises `ModelError` where names do not fit the network, `UsageError` where the model's and the
    windows' are not the same.
    """
    if labels is not None:
        return model.with_labels(labels, "--classes")
    if windows is None or windows.classes is None:
        return model
    own = model.network.readout.labels
    if own is not None and own != windows.classes:
        raise UsageError(
            f"{windows.source}: classes are {', '.join(windows.classes)}, but the model's are "
            f"{', '.join(own)}: say which with --classes"
        )
    return model.with_labels(windows.classes, windows.source)


def labels_or_file(option: str) -> tuple[str, ...] | Path:
    """What ``--classes`` means: names separated by commas, or a file of them."""
    path = Path(option)
    return path if _is_file(path) else tuple(name.strip() for name in option.split(","))


def read_labels(labels: tuple[str, ...] | Path) -> tuple[str, ...]:
    """Names, or the lines of a file. Raises `UsageError` if the file cannot be read."""
    if isinstance(labels, tuple):
        return labels
    path = labels
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"--classes {path}: larger than {MAX_FILE_BYTES} bytes")
        return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--classes {path}: {error}") from None


def _is_file(path: Path) -> bool:
    """False also for what cannot be a path at all."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
