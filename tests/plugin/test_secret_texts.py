"""A key that the user gave, in the environment or in the model arguments, is in no report, on no terminal and in no cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_lighteval.plugin.secret_texts import MASK, mask_likely, secret_texts

CANARY = "sk-canary-1234567890-abcdefghij"
ENVIRONED = "hf_QxZk7VvWw19Jq8RrTt55Yy"

ENGINE = """
import os
import warnings
import msgspec
import pytest
from pytest_lighteval import backends
from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.errors import BackendError

class Keyed(FakeBackend):
    class Arguments(FakeBackend.Arguments, frozen=True, kw_only=True):
        api_key: str = ""
        headers: dict[str, str] = {}

    @classmethod
    def from_arguments(cls, arguments):
        backend = cls(accuracy=1.0)
        backend.key, backend.arguments = arguments.api_key, arguments
        return backend

    def describe(self):
        return {**super().describe(), "api_key": self.key, "notes": [f"asked with {self.key}"]}

    def loglikelihood(self, requests):
        print("sent", self.key, os.environ["HF_TOKEN"])
        warnings.warn(f"sent {self.key}")
        raise BackendError(f"401: the key {self.key} of {os.environ['HF_TOKEN']} is wrong")
        yield

    def generate(self, requests):
        key, headers, long = self.key, {"Authorization": f"Bearer {self.key}"}, ["x" * 105 + self.key] * 3
        arguments = self.arguments
        raise OSError("cannot connect")
        yield

load = backends.load_backend
backends.load_backend = lambda name: Keyed if name == "fake" else load(name)
"""


@pytest.mark.parametrize("workers", [(), ("-n", "1")])
def test_the_canary_is_nowhere(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]) -> None:
    monkeypatch.setenv("HF_TOKEN", ENVIRONED)
    project.makeconftest(ENGINE)
    project.makepyfile(test_own="def test_own(lighteval_backend):\n    held = lighteval_backend.key\n    assert held == ''")
    arguments = f"api_key={CANARY},headers={{Authorization:Bearer {CANARY}}}"

    result = project.runpytest_subprocess(
        "suites", "test_own.py", "--backend", "fake", "--model-args", arguments, "--lighteval-report-dir", "reports",
        "--lighteval-cache-dir", "kept", "-l", "-rA", "-vv", "-Wdefault", "--junitxml=j.xml", *workers,
    )  # fmt: skip

    result.assert_outcomes(passed=1, errors=4, failed=1, warnings=2)
    assert "cannot connect" in result.stdout.str()
    texts = {"terminal": result.stdout.str() + result.stderr.str()}
    texts |= {str(path): path.read_bytes().decode("utf-8", "replace") for path in project.path.rglob("*") if is_ours(path)}
    assert sum(name.endswith((".json", ".jsonl", ".md", ".xml", ".sqlite3")) for name in texts) >= 6
    for place, text in texts.items():
        for secret in (CANARY, ENVIRONED):
            assert secret not in text, place
            pieces = [secret[start : start + 8] for start in range(len(secret) - 8)]
            assert [piece for piece in pieces if piece in text] == [], place
    assert f'"api_key": "{MASK}"' in next(text for name, text in texts.items() if name.endswith("results.json"))


def is_ours(path: Path) -> bool:
    return path.is_file() and path.suffix not in (".py", ".pyc")


def test_pieces_of_a_shortened_text_are_masked() -> None:
    secrets = secret_texts([{"api_key": CANARY}], {})

    assert secrets.mask(f"a {CANARY}, {CANARY[:9]}...{CANARY[-7:]} and {CANARY[:12]}…") == f"a {MASK}, {MASK}...{MASK} and {MASK}…"
    assert secrets.mask("sk-c and skin") == "sk-c and skin"
    assert CANARY not in repr(secrets)


@pytest.mark.parametrize(
    ("arguments", "environ", "masked"),
    [
        ({"headers": {"Authorization": f"Bearer {CANARY}"}}, {}, True),
        ({"engine": [{"auth_token": CANARY}]}, {}, True),
        ({"token": CANARY}, {}, True),
        ({"api_key_env": "MY_SERVER"}, {"MY_SERVER": f" {CANARY}\n"}, True),
        ({"api_key_env": CANARY}, {}, True),
        ({}, {"OPENAI_API_KEY": CANARY}, True),
        ({"eos_token": CANARY, "tokenizer": CANARY, "start_text": CANARY}, {"HOME": CANARY}, False),
    ],
)
def test_secrets_are_known_by_their_names(arguments: dict[str, object], environ: dict[str, str], masked: bool) -> None:
    assert (secret_texts([arguments, None], environ).mask(CANARY) == MASK) is masked


def test_a_short_value_is_masked_where_it_stands_and_nowhere_else() -> None:
    secrets = secret_texts([{"api_key": "EMPTY"}], {"OPENAI_API_KEY": "none"})

    assert secrets.without({"api_key": "EMPTY", "eos_token": "</s>", "list": ("EMPTY",)}) == {
        "api_key": MASK,
        "eos_token": "</s>",
        "list": ("EMPTY",),
    }


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (f"'{CANARY}' is not key=value", f"'{MASK}' is not key=value"),
        (f"'}}' is missing in 'model=x,api_key={CANARY},headers={{'", f"'}}' is missing in 'model=x,api_key={MASK},headers={{'"),
        ("base_url: 'user:pass@host' is not", "base_url: 'user:pass@host' is not"),
        ("base_url: 'ftp://user:pass@host' is not", f"base_url: 'ftp://{MASK}@host' is not"),
        (
            "api_key_env: the NAME of a variable, in {Authorization:x y}",
            f"api_key_env: the NAME of a variable, in {{Authorization:{MASK}}}",
        ),
        ("max_tokens: Expected `int`, got `str`", "max_tokens: Expected `int`, got `str`"),
    ],
)
def test_an_option_that_cannot_be_read_is_shown_without_its_key(written: str, shown: str) -> None:
    assert mask_likely(written) == shown
