"""A virtual environment as a user's: what this package needs, but not this package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def clean_python(folder: Path) -> Path:
    """Make one in ``folder``, with the packages that are installed here; its bin directory."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    site = next((folder / "lib").glob("python*")) / "site-packages"
    here = [path for path in sys.path if "site-packages" in path]
    (site / "here.pth").write_text("\n".join(here))
    return folder / "bin"
