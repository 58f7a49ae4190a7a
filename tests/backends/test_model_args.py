"""`--model-args` as people write it, against the arguments of a backend."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from pytest_lighteval.backends.model_args import convert_model_args, describe_arguments, parse_model_args
from pytest_lighteval.errors import UserInputError


class Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pretrained: Annotated[str, msgspec.Meta(description="what to load")]
    batch_size: int | Literal["auto"] = "auto"
    dtype: str | None = None
    compile: bool = False
    parallel: bool | None = None
    generation_parameters: dict[str, float] = {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", {}, id="empty"),
        pytest.param("pretrained=a/b,dtype=bfloat16", {"pretrained": "a/b", "dtype": "bfloat16"}, id="pairs"),
        pytest.param(" pretrained = a/b , compile ", {"pretrained": "a/b", "compile": "true"}, id="bare-key-and-spaces"),
        pytest.param("pretrained=C:/models/it's here", {"pretrained": "C:/models/it's here"}, id="apostrophe"),
        pytest.param("pretrained='a,b=c'", {"pretrained": "a,b=c"}, id="quotes"),
        pytest.param("p=x=y", {"p": "x=y"}, id="equals-in-value"),
        pytest.param(
            "g={temperature:0.5,top_p=0.9,stop:[a,'b,c'],deep:{k:v}},b=1",
            {"g": {"temperature": "0.5", "top_p": "0.9", "stop": ["a", "b,c"], "deep": {"k": "v"}}, "b": "1"},
            id="nested",
        ),
        pytest.param('g={"temperature": 0.5}', {"g": {"temperature": "0.5"}}, id="json"),
        pytest.param("dtype=None", {"dtype": None}, id="none"),
        pytest.param(r'g={"stop": ["\n\n", "a\"b,c", "\u00e9"]},b=1', {"g": {"stop": ["\n\n", 'a"b,c', "é"]}, "b": "1"}, id="escapes"),
        pytest.param("""g={'a,b':["x,y",'z,w',v]}""", {"g": {"a,b": ["x,y", "z,w", "v"]}}, id="commas"),
        pytest.param(r"""p="C:\new\",g={s:'\n',t:"\d"}""", {"p": "C:\\new\\", "g": {"s": r"\n", "t": r"\d"}}, id="backslashes"),
    ],
)
def test_pairs_are_read_as_written(text: str, expected: dict[str, Any]) -> None:
    assert parse_model_args(text, folder=Path()) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("pretrained=a,=b", "'=b' is not key=value", id="no-key"),
        pytest.param("a=1,a=2", "'a' is given twice", id="twice"),
        pytest.param("g={a:1", "'}' is missing", id="brace"),
        pytest.param("p='a", '"\'" is missing', id="quote"),
        pytest.param("g={a}", "'a' inside {} is not key:value", id="inside"),
        pytest.param("nowhere.yaml", "nowhere.yaml: No such file", id="file"),
    ],
)
def test_what_cannot_be_read_is_said(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(UserInputError) as caught:
        parse_model_args(text, folder=tmp_path)

    assert problem in str(caught.value)


def test_a_yaml_file_is_read_with_or_without_its_level(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("pretrained: a/b\nbatch_size: 4\n")
    (tmp_path / "b.yaml").write_text("model_parameters:\n  pretrained: a/b\n  batch_size: 4\n")
    (tmp_path / "c.yaml").write_text("pretrained: [a\n")

    assert (
        parse_model_args("a.yaml", folder=tmp_path) == parse_model_args("b.yaml", folder=tmp_path) == {"pretrained": "a/b", "batch_size": 4}
    )
    with pytest.raises(UserInputError, match=r"c\.yaml:2: "):
        parse_model_args("c.yaml", folder=tmp_path)


def test_texts_become_the_types_that_are_declared() -> None:
    raw = parse_model_args("pretrained=1,batch_size=8,compile=True,parallel=False,generation_parameters={t:0.5}", folder=Path())

    assert convert_model_args(raw, Arguments, backend="x") == Arguments(
        pretrained="1", batch_size=8, compile=True, parallel=False, generation_parameters={"t": 0.5}
    )


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        pytest.param({"pretrained": "a", "dtpye": "x"}, "backend 'x' has no argument 'dtpye' (did you mean 'dtype'?)", id="unknown"),
        pytest.param({"pretrained": "a", "compile": "perhaps"}, "--model-args: compile: ", id="type"),
        pytest.param({}, "--model-args: pretrained is missing: what to load", id="missing"),
    ],
)
def test_arguments_that_do_not_fit_are_named(raw: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserInputError) as caught:
        convert_model_args(raw, Arguments, backend="x")

    assert problem in str(caught.value)


def test_help_shows_name_type_default_and_one_line() -> None:
    text = describe_arguments(Arguments, backend="x")

    assert "  pretrained (str, default required)\n      what to load\n" in text
    assert "  dtype (str | None, default None)\n" in text
