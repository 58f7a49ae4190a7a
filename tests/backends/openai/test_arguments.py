"""The arguments of the openai backend, what of them is in the fingerprint, and that no key is in anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends import load_backend
from pytest_lighteval.backends.model_args import convert_model_args, describe_arguments, parse_model_args
from pytest_lighteval.backends.openai import OpenAIArguments, OpenAIBackend
from pytest_lighteval.backends.openai.secret import Secret
from pytest_lighteval.errors import UserInputError
from pytest_lighteval.types import RequestKind

URL = "http://127.0.0.1:8000/v1"
KEY = "sk-not-for-any-report"


def make(**changes: Any) -> OpenAIBackend:
    """A backend that asks nobody."""
    return OpenAIBackend(OpenAIArguments(**{"base_url": URL, "model": "m", **changes}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model=m", "--model-args: base_url is missing: where the server's API begins, e.g. http://127.0.0.1:8000/v1"),
        ("base_url=http://h/v1", "--model-args: model is missing: the model's name at the server"),
        ("base_url=127.0.0.1:8000,model=m", "base_url: '127.0.0.1:8000' is not the address of a server, such as http://127.0.0.1:8000/v1"),
        ("base_url=http://h:99999,model=m", "base_url: 'http://h:99999' is not the address of a server"),
        (f"base_url=http://me:{KEY}@h/v1,model=m", "base_url: no user, password or query belongs in it"),
        (f"base_url=http://h/v1?key={KEY},model=m", "base_url: no user, password or query belongs in it"),
        (f"base_url=http://h/v1,model=m,api_key_env={KEY}", "api_key_env: the NAME of an environment variable was expected"),
        (f"base_url=http://h/v1,model=m,api_key={KEY}", "has no argument 'api_key' (did you mean 'api_key_env' or 'api'?)"),
        ("base_url=http://h/v1,model=m,api=cat", "api: Invalid enum value 'cat'"),
        ("base_url=http://h/v1,model=m,max_length=2", "max_length: Expected `int` >= 3"),
        ("base_url=http://h/v1,model=m,concurrency=0", "concurrency: Expected `int` >= 1"),
        ("base_url=http://h/v1,model=m,timeout=0", "timeout: Expected `float` > 0"),
        (
            "base_url=http://h/v1,model=m,generation_parameters={top_q:1}",
            "generation_parameters: there is no 'top_q' (did you mean 'top_p'",
        ),
        ("base_url=http://h/v1,model=m,generation_parameters={top_p:2}", "generation_parameters.top_p: Expected `float` <= 1"),
        ("base_url=http://h/v1,model=m,generation_parameters={length_penalty:2}", "length_penalty: it belongs to beam search"),
        ("base_url=http://h/v1,model=m,generation_parameters={truncate_prompt:5}", "truncate_prompt counts tokens: give tokenizer="),
        ("base_url=http://h/v1,model=m,max_gen_toks=1,generation_parameters={max_new_tokens:2}", "the limit of every text: give one"),
    ],
)
def test_a_wrong_argument_is_named_and_a_key_in_the_wrong_place_is_not_repeated(text: str, message: str) -> None:
    with pytest.raises(UserInputError) as caught:
        convert_model_args(parse_model_args(text, folder=Path()), OpenAIArguments, backend="openai")

    assert message in str(caught.value)
    assert KEY not in str(caught.value)


def test_help_names_every_argument_with_a_line() -> None:
    text = describe_arguments(load_backend("openai").Arguments, backend="openai")

    for name in OpenAIArguments.__struct_fields__:
        assert f"  {name} (" in text
    assert text.count("\n      ") == len(OpenAIArguments.__struct_fields__)


def test_the_key_comes_from_the_environment_and_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    monkeypatch.setenv("MY_KEY", "another")
    backend = make()

    assert backend.arguments.key() == Secret(KEY)
    assert make(api_key_env="MY_KEY").arguments.key() == Secret("another")
    told = json.dumps([dict(backend.describe()), backend.fingerprint, repr(backend.arguments), repr(vars(backend))])
    assert KEY not in told
    backend.close()


def test_a_key_is_not_needed_unless_its_variable_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    assert make().arguments.key() is None
    with pytest.raises(UserInputError, match="api_key_env: the environment variable that it names is not set"):
        make(api_key_env="NO_SUCH_KEY")


def test_a_key_of_upper_case_letters_in_place_of_the_name_is_not_shown() -> None:
    with pytest.raises(UserInputError) as caught:
        make(api_key_env="AKIA0SECRET7")

    assert "AKIA0SECRET7" not in str(caught.value)


@pytest.mark.parametrize(
    "key", ["sk-begins\nsk-ends", "sk-begins\rsk-ends", "sk-begins sk-ends", "sk-beginsésk-ends", "sk-begins\x7fsk-ends"]
)
def test_a_key_that_no_header_can_hold_is_refused_without_being_repeated(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)

    with pytest.raises(UserInputError, match="the variable OPENAI_API_KEY has characters that no key has") as caught:
        make()
    assert "sk-begins" not in str(caught.value)
    assert "sk-ends" not in str(caught.value)


def test_the_fingerprint_is_of_what_may_change_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = make().fingerprint
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    assert plain == make().fingerprint
    same: list[dict[str, Any]] = [{"concurrency": 1}, {"timeout": 1.0}, {"total_timeout": 2.0}, {"retries": 0}, {"use_chat_template": True}]
    for changes in same:
        assert make(**changes).fingerprint == plain
    assert make(generation_parameters={"top_k": "5"}).fingerprint == make(generation_parameters={"top_k": 5}).fingerprint != plain
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text("{}")
    others: list[dict[str, Any]] = [
        {"base_url": "http://127.0.0.1:8001/v1"},
        {"model": "n"},
        {"model_version": "2"},
        {"generation_parameters": {"seed": 1}},
        {"start_text": "</s>"},
        {"max_length": 9},
        {"api": "chat"},
        {"tokenizer": str(tmp_path)},
    ]
    found = {make(**other).fingerprint for other in others}
    assert len(found - {plain}) == len(others)
    tokenizer.write_text("{ }")
    assert make(tokenizer=str(tmp_path)).fingerprint not in found


def test_a_missing_tokenizer_is_an_error_before_any_request(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match="tokenizer: there is no file or folder"):
        make(tokenizer=str(tmp_path / "none"))


def test_what_is_supported_follows_from_the_api_alone() -> None:
    assert make().supports == make(api="completions").supports == frozenset(RequestKind)
    assert make(api="chat").supports == {RequestKind.GENERATE}
    assert make().max_length is None
    assert make(max_length=512).max_length == 512


def test_answers_may_be_kept_only_where_somebody_says_what_answers() -> None:
    assert not make().cacheable
    assert make(model_version="build 7").cacheable


def test_constructing_and_describing_one_imports_no_client() -> None:
    code = (
        "import sys; from pytest_lighteval.backends.openai import *;"
        f"b = OpenAIBackend(OpenAIArguments(base_url={URL!r}, model='m')); b.fingerprint; b.describe(); b.supports; b.close();"
        "sys.exit(', '.join({'httpx', 'torch', 'transformers', 'jinja2'} & set(sys.modules)) or 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
