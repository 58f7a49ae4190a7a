"""Arguments of the nanotron backend, Lighteval's YAML as settings of a session, and the processes of torchrun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_lighteval.backends import SessionDefaults
from pytest_lighteval.backends.accelerate import AccelerateArguments
from pytest_lighteval.backends.model_args import convert_model_args, describe_arguments, parse_model_args
from pytest_lighteval.backends.nanotron import NanotronArguments, NanotronBackend
from pytest_lighteval.backends.nanotron.checkpoint import Parallelism
from pytest_lighteval.backends.nanotron.lighteval_config import read_lighteval_config
from pytest_lighteval.backends.nanotron.ranks import check_nanotron, check_processes
from pytest_lighteval.errors import BackendError, UserInputError

LIGHTEVALS_TEMPLATE = {
    # examples/nanotron/lighteval_config_override_template.yaml of Lighteval, as nanotron's own classes write it
    "batch_size": 16,
    "checkpoints_path": None,
    "generation": None,
    "logging": {
        "hub_repo_details": None,
        "local_output_path": "./output_dir",
        "push_details_to_hub": False,
        "push_results_to_tensorboard": True,
        "tensorboard_metric_prefix": "e",
    },
    "parallelism": {"dp": 1, "pp": 1, "pp_engine": "1f1b", "tp": 1, "tp_linear_async_communication": False, "tp_mode": "ALL_REDUCE"},
    "tasks": {
        "dataset_loading_processes": 8,
        "max_samples": 10,
        "multichoice_continuations_start_space": None,
        "num_fewshot_seeds": None,
        "tasks": "lighteval|gsm8k|5|1",
    },
}


def read(text: str) -> NanotronArguments:
    """Arguments from a `--model-args` text."""
    return convert_model_args(parse_model_args(text, folder=Path()), NanotronArguments, backend="nanotron")


def read_config(folder: Path, content: Any) -> SessionDefaults:
    path = folder / "eval.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return read_lighteval_config(str(path), uses_parallelism=False)


def test_what_says_how_a_model_runs_is_the_accelerate_backends() -> None:
    arguments = read("checkpoint_config_path=run/10/config.yaml,dtype=bf16,batch_size=8,generation_parameters={seed:3},tokenizer=tok")

    assert arguments.for_accelerate(max_length=64) == AccelerateArguments(
        pretrained="run/10",
        dtype="bf16",
        batch_size=8,
        generation_parameters={"seed": "3"},
        tokenizer="tok",
        max_length=64,
        add_special_tokens=False,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("engine=nanotron", "checkpoint_config_path is missing: name the config.yaml"),
        ("checkpoint_config_path=c.yaml,engine=brr", "--model-args: engine: Invalid enum value 'brr'"),
        ("checkpoint_config_path=c.yaml,checkpoint_path=c", r"no argument 'checkpoint_path' \(did you mean 'checkpoint_config_path'"),
        ("checkpoint_config_path=c.yaml,pretrained=c", "has no argument 'pretrained'"),
        ("checkpoint_config_path=c.yaml,dtype=bf17", r"dtype: 'bf17' is none of .* \(did you mean"),
        ("checkpoint_config_path=c.yaml,batch_size=0", "batch_size: 0 is not a number of rows"),
        ("checkpoint_config_path=c.yaml,generation_parameters={tmp:1}", "generation_parameters: there is no 'tmp'"),
        ("checkpoint_config_path=c.yaml,engine=nanotron,device=cpu", "device: it belongs to engine=transformers"),
        ("checkpoint_config_path=c.yaml,engine=nanotron,compile=true", "compile: it belongs to engine=transformers"),
        ("checkpoint_config_path=c.yaml,engine=nanotron,dtype=4bit", "dtype: 4bit belongs to engine=transformers"),
    ],
)
def test_a_wrong_argument_is_one_line(text: str, message: str) -> None:
    with pytest.raises(UserInputError, match=rf"^[^\n]*{message}[^\n]*$"):
        read(text)


def test_help_lists_the_checkpoint_first_and_every_argument_with_a_type_and_a_line() -> None:
    text = describe_arguments(NanotronArguments, backend="nanotron")

    lines = text.splitlines()
    assert lines[2:4] == [
        "  checkpoint_config_path (str | None, default None)",
        "      the config.yaml that nanotron saved with the weights, or its folder",
    ]
    described = [line.split()[0] for line in lines[2::2]]
    assert sorted(described) == sorted(NanotronArguments.__struct_fields__)
    assert "  batch_size (int | Literal['auto']" in text.replace('"', "'")
    assert "  (, default" not in text


def test_lightevals_template_is_read_and_a_note_lists_what_has_no_effect(tmp_path: Path) -> None:
    found = read_config(tmp_path, LIGHTEVALS_TEMPLATE)

    assert found == SessionDefaults(
        source=f"{tmp_path}/eval.yaml",
        arguments={"batch_size": 16},
        options={"tasks": "lighteval|gsm8k|5|1", "max-samples": "10", "report-dir": str(Path.cwd() / "output_dir")},
        notes=(
            f"{tmp_path}/eval.yaml: without effect here: logging.push_results_to_tensorboard, logging.tensorboard_metric_prefix, "
            "parallelism, tasks.dataset_loading_processes",
        ),
    )


def test_every_setting_finds_its_place(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    content = {
        "tasks": {
            "tasks": "mini|a|0|0,mini|b|5|0",
            "custom_tasks": str(tmp_path / "own"),
            "num_fewshot_seeds": 3,
            "no_multichoice_continuations_start_space": True,
            "pairwise_tokenization": True,
        },
        "logging": {"output_dir": str(tmp_path / "out"), "save_details": False, "push_to_hub": True},
        "batch_size": 0,
        "generation": {"sampler": "TOP_K", "temperature": 0.5, "top_k": 9, "top_p": 0.5, "seed": 7, "eos": "<end>", "use_cache": True},
    }

    found = read_config(tmp_path, content)

    assert found.arguments == {
        "generation_parameters": {"temperature": 0.5, "top_k": 9, "seed": 7, "stop_tokens": ["<end>"]},
        "multichoice_continuations_start_space": False,
        "pairwise_tokenization": True,
    }
    assert found.options == {
        "tasks": "mini|a|0|0,mini|b|5|0",
        "custom-tasks": str(tmp_path / "own"),
        "num-fewshot-seeds": "3",
        "report-dir": str(tmp_path / "out"),
    }
    assert found.notes[0].partition(": without effect here: ")[2].split(", ") == [
        "generation.top_p",
        "generation.use_cache",
        "logging.push_to_hub",
        "logging.save_details",
    ]


@pytest.mark.parametrize(
    ("generation", "parameters"),
    [
        pytest.param({"sampler": "greedy"}, {"temperature": 0.0}, id="greedy"),
        pytest.param({"sampler": "basic"}, {"temperature": 1.0}, id="basic"),
        pytest.param({"sampler": "top_k"}, {"temperature": 1.0, "top_k": 50}, id="top-k"),
        pytest.param({"sampler": "top_p", "top_p": 0.5}, {"temperature": 1.0, "top_p": 0.5}, id="top-p"),
        pytest.param({"sampler": None, "seed": None, "use_cache": False}, None, id="nothing-said"),
    ],
)
def test_nanotrons_samplers_keep_their_defaults(tmp_path: Path, generation: dict[str, Any], parameters: dict[str, Any] | None) -> None:
    found = read_config(tmp_path, {"generation": generation})

    assert found.arguments.get("generation_parameters") == parameters


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"task": {}}, r"task: no such key \(did you mean 'tasks'\?\)"),
        ({"tasks": {"max_sample": 3}}, r"tasks.max_sample: no such key \(did you mean 'max_samples'\?\)"),
        ({"model": {}}, "model: no such key; there are: batch_size, checkpoints_path, "),
        ({"tasks": "mini|a|0|0"}, "tasks: a mapping was expected, not 'mini|a|0|0'"),
        ({"tasks": {"tasks": 3}}, "tasks.tasks: a text was expected, not 3"),
        ({"tasks": {"max_samples": 0}}, "tasks.max_samples: a number from 1 on was expected, not 0"),
        ({"tasks": {"max_samples": True}}, "tasks.max_samples: a number from 1 on was expected, not True"),
        (
            {"tasks": {"custom_tasks": "no_tasks.py"}},
            r"tasks.custom_tasks: a Python module of tasks \(my_tasks.py, or a dotted name\) or a folder of suites was expected",
        ),
        ({"tasks": {"pairwise_tokenization": "yes"}}, "tasks.pairwise_tokenization: true or false was expected, not 'yes'"),
        ({"batch_size": "auto"}, "batch_size: a number from 0 on was expected, not 'auto'"),
        ({"generation": {"sampler": "beam"}}, "generation.sampler: one of greedy, basic, top_k, top_p was expected, not 'beam'"),
        ({"generation": {"temperature": "hot"}}, "generation.temperature: a number was expected, not 'hot'"),
        ({"generation": {"lighteval|gsm8k": {"sampler": "greedy"}}}, "generation: settings by task are not read"),
        ({"parallelism": {"dp": 1, "tp": 1}}, "parallelism.pp: a number from 1 on was expected, not None"),
        ("- 1\n", "1: a mapping was expected"),
        ("a: [\n", "2: "),
    ],
)
def test_a_wrong_file_is_one_line_that_names_file_and_key(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(UserInputError, match=rf"^{tmp_path}/eval.yaml: ?{message.replace('|', chr(92) + '|')}[^\n]*$"):
        read_config(tmp_path, content)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match=r"nowhere.yaml: No such file or directory$"):
        read_lighteval_config(str(tmp_path / "nowhere.yaml"), uses_parallelism=False)


SPLIT = Parallelism(data=2, pipeline=1, tensor=3, where="eval.yaml")


@pytest.mark.parametrize(
    ("parallelism", "environment", "message"),
    [
        (None, {}, "config.yaml: parallelism: missing, and engine=nanotron needs its dp, tp and pp"),
        (
            SPLIT,
            {},
            r"under torchrun, as dp 2 x tp 3 x pp 1 = 6 processes \(eval.yaml\): torchrun --standalone --nproc-per-node=6",
        ),
        (SPLIT, {"WORLD_SIZE": "2"}, r"started 2 processes, and eval.yaml asks for dp 2 x tp 3 x pp 1 = 6: torchrun .*--nproc-per-node=6 "),
        (
            Parallelism(data=1, pipeline=2, tensor=1, where="eval.yaml"),
            {"WORLD_SIZE": "2"},
            r"eval.yaml: parallelism.pp: engine=nanotron answers with 1 alone, not 2 .* give a lighteval_config_path whose",
        ),
    ],
)
def test_processes_have_to_be_as_many_as_the_config_asks_for(
    parallelism: Parallelism | None, environment: dict[str, str], message: str
) -> None:
    with pytest.raises(UserInputError, match=message):
        check_processes(parallelism, "config.yaml", environment)


def test_as_many_processes_as_asked_for_are_right() -> None:
    assert check_processes(SPLIT, "config.yaml", {"WORLD_SIZE": "6"}) is SPLIT


def test_a_nanotron_that_is_not_there_or_cannot_be_imported_names_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    way_out = "install it from its source .* the package on PyPI cannot be imported.*, or leave engine=nanotron out"
    with pytest.raises(BackendError, match=rf"^engine=nanotron: nanotron is not installed: {way_out}"):
        check_nanotron()
    package = tmp_path / "nanotron"
    package.mkdir()
    (package / "__init__.py").touch()
    # what nanotron 0.4 ends in
    (package / "models.py").write_text("from nanotron.models import NanotronModel")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(BackendError, match=rf"^engine=nanotron: nanotron cannot be imported \(ImportError: cannot .*\): {way_out}"):
        check_nanotron()
    assert "nanotron.models" not in __import__("sys").modules


def test_a_backend_takes_its_own_arguments_alone() -> None:
    with pytest.raises(TypeError, match="NanotronArguments were expected, not AccelerateArguments"):
        NanotronBackend.from_arguments(AccelerateArguments(pretrained="x"))
