"""report.html: a run, or several side by side, as one file that a browser opens from disk.

`data` is what a page shows. `stored_run` fills it from a run's folder, `documents` packs it, `write` makes the file of it. The `*.js` files
are the page's script; `write.SCRIPTS` has their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_lighteval.reports.page.stored_run import session_data
from pytest_lighteval.reports.page.write import write_page

PAGE = "report.html"
"""In a run's folder."""


def write_run_page(folder: Path, *, details: Sequence[Path] = ()) -> None:
    """Write the page of a run whose results.json and details are in its folder.

    Args:
        folder: the run's.
        details: folders of other runs that hold details of its tasks.

    Raises:
        LightevalError: the page cannot be written, or what it shows cannot be read.
    """
    write_page(folder / PAGE, session_data(folder, details=details))
