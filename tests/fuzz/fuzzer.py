"""Feed a reader changed inputs for some seconds: ``python fuzzer.py net.txt --seconds 9``.

It ends with 1 if one of them raised anything but `L2MUError`, took more than `CPU_SECONDS` or more
than `MEMORY_BYTES`; those are kept. With atheris installed, what an input makes the loader do
(coverage) decides which inputs are changed further; without it, what the error says does.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from importlib.util import find_spec
from pathlib import Path
from random import Random

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
CPU_SECONDS = 10.0
MEMORY_BYTES = 512 << 20
ADDRESS_BYTES = 8 << 30  # of a fuzzer in all, so that the machine goes on whatever it finds
MAX_KEPT = 2000

sys.path[:0] = [str(HERE), str(HERE.parent)]


class Fuzzer:
    """Feeds one loader, counts inputs, and keeps those that it does not bear."""

    def __init__(self, name: str, seconds: float, found: Path, seed: int) -> None:
        from loaders import loaders

        self.name, self.loader, self.found = name, loaders()[name], found
        self.random = Random(seed)
        self.inputs = self.taken = 0
        self.failures: set[str] = set()
        self.outcomes: set[str] = set()
        self.work = Path(tempfile.mkdtemp(prefix="fuzz"))
        self.current = found / f"{name}-died"
        self.first = [*self.loader.seeds(), *map(Path.read_bytes, corpus(name))]
        for data in self.first:
            self.feed(data)
        self.memory, self.end = _peak(), time.monotonic() + seconds

    def feed(self, data: bytes) -> bool:
        """Feed one input; whether its outcome is a new one."""
        from l2mu_compile.errors import L2MUError

        self.inputs += 1
        self.current.write_bytes(data)
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        outcome = "taken"
        try:
            self.loader.feed(data, self.work)
            self.taken += 1
        except L2MUError as error:
            outcome = re.sub(r"'.*?'|\d+", "", str(error).replace(str(self.work), ""))[:80]
        except BaseException as error:
            self._failed(data, error)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if hasattr(self, "memory") and _peak() > self.memory + MEMORY_BYTES:
            self._failed(data, MemoryError("took too much"))
            self.memory = _peak()
        new = outcome not in self.outcomes
        self.outcomes.add(outcome)
        return new

    def _failed(self, data: bytes, error: BaseException) -> None:
        frames = traceback.extract_tb(error.__traceback__)[-2:]
        where = f"{type(error).__name__} {[(f.name, f.lineno) for f in frames]}"
        if where not in self.failures:
            self.failures.add(where)
            path = self.found / f"{self.name}-{hashlib.sha256(data).hexdigest()[:8]}"
            path.write_bytes(data)
            print(f"{path}:", "".join(traceback.format_exception(error))[-1500:], flush=True)

    def done(self) -> int:
        """Say what was done; the exit code."""
        self.current.unlink(missing_ok=True)
        print(
            f"{self.name}: {self.inputs} inputs, {self.taken} taken, "
            f"{len(self.outcomes)} outcomes, {len(self.failures)} failures",
            flush=True,
        )
        return 1 if self.failures else 0

    def by_outcome(self) -> int:
        """Change inputs at random, and those with new outcomes further."""
        pool = list(self.first)
        while time.monotonic() < self.end:
            data = self.loader.mutate(self.random.choice(pool), self.random)
            if self.feed(data) and len(pool) < MAX_KEPT:
                pool.append(data)
        return self.done()

    def by_coverage(self) -> int:
        """Have atheris choose what to change."""
        import atheris

        def one(data: bytes) -> None:
            if time.monotonic() > self.end:
                os._exit(self.done())
            self.feed(data)

        def changed(data: bytes, size: int, seed: int) -> bytes:
            return self.loader.mutate(data, Random(seed))[:size]

        with tempfile.TemporaryDirectory() as folder:
            for k, data in enumerate(self.first):
                Path(folder, str(k)).write_bytes(data)
            options = ["-max_len=1048576", "-rss_limit_mb=0", "-verbosity=0"]
            options.append(f"-artifact_prefix={self.found}/")
            seed = self.random.randrange(1, 1 << 31)
            atheris.Setup(
                [sys.argv[0], *options, f"-seed={seed}", "-print_final_stats=0", folder],
                one,
                custom_mutator=changed,
            )
            atheris.Fuzz()
        return self.done()


def corpus(name: str) -> list[Path]:
    """The saved inputs of a loader."""
    return sorted((CORPUS / name).glob("*"))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser()
    parser.add_argument("loader")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--found", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--no-coverage", action="store_true")
    given = parser.parse_args()
    given.found.mkdir(parents=True, exist_ok=True)
    resource.setrlimit(
        resource.RLIMIT_AS, (ADDRESS_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1])
    )
    made = (given.loader, given.seconds, given.found, given.seed)
    if given.no_coverage or find_spec("atheris") is None:
        return Fuzzer(*made).by_outcome()
    import atheris

    with atheris.instrument_imports(include=["l2mu_compile"]):
        fuzzer = Fuzzer(*made)  # reads its first inputs: readers import much only then
    return fuzzer.by_coverage()


if __name__ == "__main__":
    sys.exit(main())
