"""`python -m pytest_lighteval COMMAND ...`."""

from __future__ import annotations

from pytest_lighteval.commands.main import main

if __name__ == "__main__":
    raise SystemExit(main())
