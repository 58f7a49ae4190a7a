"""Which commit a revision is: itself, what the hub says, or offline what was downloaded last."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_lighteval.data.hub_revisions import confirm_commit, current_commit

COMMIT, OTHER = "1234567890" * 4, "abcdefabcd" * 4


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str | None], str]:
    """What the hub would answer; anything else is an error of the connection."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    answers: dict[tuple[str, str | None], str] = {}

    class Api:
        def dataset_info(self, repo: str, *, revision: str | None, timeout: float) -> Any:
            try:
                return SimpleNamespace(sha=answers[repo, revision])
            except KeyError:
                raise ConnectionError("no route to the hub") from None

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    return answers


def test_a_commit_is_itself_without_asking_anyone() -> None:
    assert current_commit("geo/capitals", COMMIT, {}) == COMMIT


def test_a_branch_is_what_the_hub_says_now(hub: dict[tuple[str, str | None], str]) -> None:
    hub["geo/capitals", None] = COMMIT
    hub["geo/capitals", "v2"] = OTHER

    assert current_commit("geo/capitals", None, {}) == COMMIT
    assert current_commit("geo/capitals", "v2", {}) == OTHER


@pytest.mark.usefixtures("hub")
def test_without_a_connection_it_is_unknown() -> None:
    assert current_commit("geo/capitals", None, {}) is None


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
def test_offline_it_is_the_commit_that_was_downloaded_last(tmp_path: Path, name: str) -> None:
    refs = tmp_path / "hub" / "datasets--geo--capitals" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(COMMIT)
    (refs / "broken").write_text("nothing")
    environment = {name: "1", "HF_HOME": str(tmp_path)}

    assert current_commit("geo/capitals", None, environment) == COMMIT
    assert current_commit("geo/capitals", None, {name: "yes", "HF_HUB_CACHE": str(tmp_path / "hub")}) == COMMIT
    assert current_commit("geo/capitals", "v2", environment) is None
    assert current_commit("geo/capitals", "broken", environment) is None


def test_only_the_hub_itself_confirms_a_commit(hub: dict[tuple[str, str | None], str]) -> None:
    hub["geo/capitals", None] = COMMIT

    assert confirm_commit("geo/capitals", None, COMMIT, {})
    assert not confirm_commit("geo/capitals", None, OTHER, {})
    assert not confirm_commit("geo/rivers", None, COMMIT, {})
    assert not confirm_commit("geo/capitals", None, COMMIT, {"HF_HUB_OFFLINE": "1"})
