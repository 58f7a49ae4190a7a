"""An environment for each peer, as their requirements conflict with ours."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.recordings import ROOT
from pytest_lighteval.errors import UserInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A package that we compare with, and how to install it today."""

    name: str
    """The name of the environment's folder in the user's cache."""
    module: str
    """A module that can be imported once it is installed."""
    requirements: tuple[str, ...]


HARNESS = Peer(name="lm-eval", module="lm_eval", requirements=("lm-eval[hf]==0.4.13", f"transformers=={version('transformers')}"))
LIGHTEVAL = Peer(
    name="lighteval",
    module="lighteval",
    # its own ranges allow versions that it fails with: pyarrow for numpy 1, xxhash that takes text, data sets' scripts, and transformers 4
    requirements=("lighteval==0.9.2", "numpy<2", "pyarrow==17.*", "xxhash<4", "datasets<4", "transformers==4.57.6", "langcodes"),
)


def python_of(peer: Peer, folder: Path) -> Path:
    """The interpreter of the peer's environment, which is created if it is missing. Raises UserInputError."""
    python = folder / "bin" / "python"
    if not python.is_file():
        print(f"making {folder} with {peer.requirements[0]}", file=sys.stderr)
        venv.create(folder, with_pip=True)
    if not list(folder.glob(f"lib/python*/site-packages/{peer.module}/__init__.py")):
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint", str(ROOT / "constraints.txt")]
        # torch by itself first: resolved together with the rest, a newer build may be preferred
        required: Sequence[Sequence[str]] = (["torch"], peer.requirements)
        for packages in required:
            if subprocess.run([*pip, *packages], check=False).returncode:
                raise UserInputError(f"{' and '.join(packages)} could not be installed into {folder}")
    return python
