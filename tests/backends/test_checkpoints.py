"""Which checkpoints a pattern names, in which order, and when one is completely written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_lighteval.backends.checkpoints import Checkpoint, Looks, find_checkpoints
from pytest_lighteval.errors import UserInputError


def folders(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir(parents=True)


def test_checkpoints_are_in_the_order_of_their_steps_and_not_of_their_names(tmp_path: Path) -> None:
    folders(tmp_path, "run/step-900", "run/step-1000", "run/tmp-step-1100", "run/.hidden", "other")

    found = find_checkpoints(["run/*"], tmp_path)

    assert [(one.name, one.step, one.path) for one in found] == [
        ("step-900", 900, tmp_path / "run/step-900"),
        ("step-1000", 1000, tmp_path / "run/step-1000"),
    ]


def test_names_are_the_parts_of_paths_that_tell_them_apart(tmp_path: Path) -> None:
    folders(tmp_path, "a/100/hf", "a/20/hf")

    assert [(one.name, one.step) for one in find_checkpoints(["a/*/hf"], tmp_path)] == [("20", 20), ("100", 100)]


def test_a_list_may_have_paths_and_revisions_of_the_hub(tmp_path: Path) -> None:
    folders(tmp_path, "final")

    found = find_checkpoints(["org/model@step1000,org/model@step200", "final"], tmp_path)

    assert [(one.name, one.step) for one in found] == [("final", 1), ("step200", 2), ("step1000", 3)]
    assert found[1].arguments(["pretrained", "revision", "dtype"]) == {"pretrained": "org/model", "revision": "step200"}
    assert found[0].arguments(["pretrained", "revision"]) == {"pretrained": str(tmp_path / "final")}
    assert found[0].arguments(["pretrained", "checkpoint_config_path"]) == {"checkpoint_config_path": str(tmp_path / "final")}


@pytest.mark.parametrize(
    ("patterns", "problem"),
    [
        (["a,,b"], "--checkpoints: a pattern is empty"),
        (["nowhere"], "--checkpoints nowhere: there is no such folder or file"),
    ],
)
def test_a_wrong_pattern_is_one_clear_line(tmp_path: Path, patterns: list[str], problem: str) -> None:
    folders(tmp_path, "a", "b")

    with pytest.raises(UserInputError, match=f"^{problem}"):
        find_checkpoints(patterns, tmp_path)


def test_a_checkpoint_that_a_trainer_removed_is_no_mistake_of_a_later_look(tmp_path: Path) -> None:
    folders(tmp_path, "b-2")

    assert [found.name for found in find_checkpoints(["a-1,b-2"], tmp_path, may_be_gone=True)] == ["b-2"]


def test_a_backend_that_takes_no_model_is_one_clear_line() -> None:
    with pytest.raises(UserInputError, match="the backend has no argument that names a model"):
        Checkpoint(name="x", step=1, place="x").arguments(["seed"])
    with pytest.raises(UserInputError, match="the backend takes no revision; name folders"):
        Checkpoint(name="x", step=1, place="org/model@x").arguments(["pretrained"])


def safetensors(path: Path, *, size: int, written: int | None = None) -> None:
    """A file that says that it has so many bytes of tensors, and has `written` of them."""
    header = json.dumps({"__metadata__": {}, "w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"x" * (size if written is None else written))


def problem_of(folder: Path, looks: Looks | None = None) -> str | None:
    checkpoint = Checkpoint(name=folder.name, step=1, place=str(folder))
    return (looks or Looks()).complete([checkpoint])[checkpoint.place]


def test_a_safetensors_checkpoint_is_complete_once_every_shard_has_all_of_its_bytes(tmp_path: Path) -> None:
    step = tmp_path / "step-1"
    step.mkdir()
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    safetensors(step / "model-1.safetensors", size=100)

    assert problem_of(step) == "config.json is missing"
    (step / "config.json").write_text("{}")
    (step / "model.safetensors.index.json").write_text(json.dumps(index))
    assert problem_of(step) == "model-2.safetensors is missing"
    safetensors(step / "model-2.safetensors", size=100, written=40)
    assert problem_of(step) is not None
    assert (problem_of(step) or "").startswith("model-2.safetensors has ")
    (step / "model-2.safetensors").write_bytes(b"\0" * 5)
    assert problem_of(step) == "model-2.safetensors has no whole header"
    (step / "model.safetensors.index.json").write_text('{"weight_map": {"a"')
    assert problem_of(step) == "the end of model.safetensors.index.json is missing"
    (step / "model.safetensors.index.json").write_text(json.dumps(index))
    safetensors(step / "model-2.safetensors", size=100)
    (step / "tokenizer.json").write_text("{}")
    assert problem_of(step) is None


def test_the_name_of_a_shard_tells_how_many_there_will_be_before_the_index_is_written(tmp_path: Path) -> None:
    step = tmp_path / "step-1"
    step.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (step / name).write_text("{}")
    safetensors(step / "model-00001-of-00002.safetensors", size=100)

    assert problem_of(step) == "model-00002-of-00002.safetensors is missing"
    safetensors(step / "model-00002-of-00002.safetensors", size=100)
    assert problem_of(step) is None


def test_weights_without_a_tokenizer_must_stand_still_as_it_is_written_after_them(tmp_path: Path) -> None:
    step, looks = tmp_path / "step-1", Looks()
    step.mkdir()
    (step / "config.json").write_text("{}")
    safetensors(step / "model.safetensors", size=100)

    assert [problem_of(step, looks), problem_of(step, looks)] == ["its files may still grow", None]


def test_files_that_do_not_tell_must_stand_still_between_two_looks(tmp_path: Path) -> None:
    step, looks = tmp_path / "step-1", Looks()
    step.mkdir()
    (step / "pytorch_model.bin").write_bytes(b"x" * 10)

    assert problem_of(step, looks) == "its files may still grow"
    (step / "pytorch_model.bin").write_bytes(b"x" * 20)
    assert problem_of(step, looks) == "its files may still grow"
    assert problem_of(step, looks) is None
    empty = tmp_path / "step-2"
    empty.mkdir()
    assert [problem_of(empty, looks), problem_of(empty, looks)] == ["its files may still grow"] * 2


def test_where_one_checkpoint_has_a_marker_the_others_need_one(tmp_path: Path) -> None:
    folders(tmp_path, "run/step-1", "run/step-2")
    (tmp_path / "run/step-1/.done").touch()
    found = find_checkpoints(["run/*"], tmp_path)

    assert [*Looks().complete(found).values()] == [None, "it has no .done yet, as others have"]
    (tmp_path / "run/step-2/_SUCCESS").touch()
    assert [*Looks().complete(found).values()] == [None, None]


def test_nanotron_names_its_newest_complete_step(tmp_path: Path) -> None:
    folders(tmp_path, "10", "20")
    for step in ("10", "20"):
        (tmp_path / step / "model_config.json").write_text("{}")
    (tmp_path / "latest.txt").write_text("10\n")

    assert [(found.name, found.step) for found in find_checkpoints([f"{tmp_path}/*"], tmp_path)] == [("10", 10), ("20", 20)]

    assert problem_of(tmp_path / "10") is None
    assert problem_of(tmp_path / "20") == f"{tmp_path / 'latest.txt'} names step 10 as the newest one"


def test_a_revision_of_the_hub_is_whole(tmp_path: Path) -> None:
    checkpoint = Checkpoint(name="step1", step=1, place="org/model@step1")

    assert Looks().complete([checkpoint]) == {"org/model@step1": None}
