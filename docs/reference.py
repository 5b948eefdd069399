"""Write ``commands.md`` and ``api.md`` from the package itself: ``make reference``."""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

import l2mu_compile
from l2mu_compile.cli import app
from l2mu_compile.exits import EXIT_CODES
from l2mu_compile.output import write_together

DOCS = Path(__file__).parent
WIDTH = 88  # of a signature
HOW = "This page is written by `make reference`."


def pages() -> dict[str, str]:
    """Both pages, by name."""
    return {"commands.md": commands(), "api.md": api()}


# ---- commands ----------------------------------------------------------------------------------


def commands() -> str:
    """Every command: its arguments, options and examples, as ``--help`` shows them."""
    group: Any = typer.main.get_command(app)
    parts = [f"# Commands\n\n{HOW} {_sentence(EXIT_CODES)}"]
    parts += ["\n".join(_command(name, found)) for name, found in group.commands.items()]
    return "\n\n".join(parts) + "\n"


def _command(name: str, found: Any) -> Iterator[str]:
    arguments = [p for p in found.params if p.param_type_name == "argument"]
    options = [p for p in found.params if p.param_type_name == "option"]
    taken = " ".join(f"{p.metavar}" if p.required else f"[{p.metavar}]" for p in arguments)
    yield f"## {name}\n\n{_sentence(found.help)}\n"
    yield f"```console\n$ l2mu-compile {name} {taken + ' ' if taken else ''}[OPTIONS]"
    yield from (f"$ {text.strip()}" for text in (found.epilog or "").split("Example: ") if text)
    yield "```\n"
    yield "| | |\n|---|---|"
    yield from (f"| `{p.metavar}` | {_cell(p.help)} |" for p in arguments)
    yield from (f"| {_option(p)} | {_cell(p.help)}{_default(p)} |" for p in options)


def _option(option: Any) -> str:
    *others, last = (f"`{name}`" for name in sorted(option.opts, key=len))
    metavar = f"`{last[1:-1]} {option.metavar}`" if option.metavar else last
    return ", ".join([*others, metavar.replace("|", "\\|")])


def _default(option: Any) -> str:
    value = getattr(option.default, "value", option.default)
    return "" if value in (None, False, "", [], ()) else f" [{value}]"


def _cell(text: str | None) -> str:
    return _sentence(text).replace("|", "\\|")


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


# ---- Python ------------------------------------------------------------------------------------


def api() -> str:
    """Every public name: how it is called, and its docstring."""
    head = (
        f"# Python\n\n{HOW} These names are imported from `l2mu_compile`;\n"
        "what else its modules hold may change at any time ([stability.md](stability.md))."
    )
    names = [name for name in l2mu_compile.__all__ if name != "__version__"]
    parts = [_entry(name, getattr(l2mu_compile, name)) for name in names]
    return "\n\n".join([head, *parts]) + "\n"


def _entry(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return f"## {name}\n\nBy name: {', '.join(f'`{key}`' for key in value)}."
    lines = [f"## {name}", ""]
    if not _is_error(value):
        lines += ["```python", *_signature(name, value), "```", ""]
    lines.append(_text(value))
    members = list(_members(value)) if inspect.isclass(value) else []
    lines += [""] if members else []
    lines += [_item(f"{member}: {_text(found)}") for member, found in members]
    return "\n".join(lines)


def _item(text: str) -> str:
    """An item of a list, whose further lines belong to it."""
    return f"- {textwrap.indent(text, '  ').lstrip()}"


def _is_error(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, Exception)


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties of the class itself that say what they do, as they are called;
    no fields."""
    for name, raw in vars(kind).items():
        own = getattr(raw, "__func__", raw)
        if name.startswith("_") or name in getattr(kind, "__dataclass_fields__", ()):
            continue
        if not own.__doc__:
            continue
        if isinstance(raw, property):
            yield f"`{name}`", raw
        elif inspect.isfunction(raw) or isinstance(raw, (classmethod, staticmethod)):
            bound = getattr(kind, name)
            drop = inspect.isfunction(raw)
            yield f"`{' '.join(_signature(name, bound, drop, width=10_000))}`", bound


def _signature(name: str, value: Any, drop: bool = False, width: int = WIDTH) -> list[str]:
    """``name(parameters) -> result``; a line for each parameter where one is too long."""
    try:
        found = inspect.signature(value)
    except ValueError:
        return [name]
    parameters = [
        p.replace(annotation=_bare(p.annotation), default=_shown(p.default))
        for p in found.parameters.values()
    ]
    returns = "" if inspect.isclass(value) else _returns(found.return_annotation)
    texts = _separated(parameters[1 if drop else 0 :])
    line = f"{name}({', '.join(texts)}){returns}"
    if len(line) <= width:
        return [line]
    return [f"{name}(", *(f"    {text}," for text in texts), f"){returns}"]


def _separated(parameters: list[inspect.Parameter]) -> list[str]:
    texts, keyword = [], False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword:
            keyword = True
            texts.append("*")
        texts.append(str(parameter))
    return texts


def _returns(annotation: Any) -> str:
    return "" if annotation is inspect.Signature.empty else f" -> {_bare(annotation)!r}"


class _Bare:
    """An annotation shown as it is written."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _bare(annotation: Any) -> Any:
    return _Bare(annotation) if isinstance(annotation, str) else annotation


def _shown(default: Any) -> Any:
    """A default value, unless it can only be shown by where it is in memory."""
    plain = default is inspect.Parameter.empty or isinstance(default, (str, int, float, tuple))
    return default if plain or default is None else _Bare("...")


def _text(value: Any) -> str:
    """A docstring as Markdown."""
    text = re.sub(r"^::\n\n", "", inspect.getdoc(value) or "", flags=re.MULTILINE)
    return re.sub(r"::$", ":", text, flags=re.MULTILINE).replace("``", "`").strip()


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    write_together({folder / name: text for name, text in pages().items()})
