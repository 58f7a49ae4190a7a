"""A finished run to publish: two tasks of a data set that is on the hub, one of them under a superset."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.guests.lighteval.samples import OLDER

ROWS = [{"question": f"Which of {number}?", "choices": ["this", "that"], "answer": number % 2, "level": 1} for number in range(12)]


def make_run(folder: Path, *options: str) -> Path:
    """The folder of a run in which the fake backend answered."""
    import pyarrow
    from pyarrow import parquet

    repository = folder / "hub" / "owner" / "quiz"
    repository.mkdir(parents=True)
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), repository / "rows.parquet")
    card = "---\nconfigs:\n" + "".join(
        f"- config_name: {name}\n  data_files:\n" + "".join(f"  - {{split: {split}, path: [rows.parquet]}}\n" for split in ("test", "dev"))
        for name in ("easy", "hard mode")
    )
    (repository / "README.md").write_text(card + "---\n")
    (folder / "my_tasks.py").write_text(OLDER)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--custom-tasks", "my_tasks.py", "--backend", "fake"]
    command += [f"--data-home={folder / 'hub'}", "--tasks", "community|quiz|1|0", "--no-cache", *options]
    done = subprocess.run(command, cwd=folder, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (path for path in (folder / "reports").iterdir() if path.is_dir())
    return run
