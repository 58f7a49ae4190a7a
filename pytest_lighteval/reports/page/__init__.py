"""report.html: a run, or several side by side, as one file that a browser opens from disk.

`data` is what a page shows. `stored_run` fills it from a run's folder, `documents` packs it, `write` makes the file of it. The `*.js` files
are the page's script; `write.SCRIPTS` has their order.
"""

from __future__ import annotations

PAGE = "report.html"
"""In a run's folder."""
