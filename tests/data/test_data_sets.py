from __future__ import annotations

import datetime
import decimal
import hashlib
import json
import os
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.data.data_sets import DataSets, rows_fingerprint
from pytest_lighteval.data.row_cache import RowCache
from pytest_lighteval.errors import DataError, MissingExtraError
from pytest_lighteval.types import PromptTemplate, Row, Task
from tests.shared import HUB, needs_shared

CAPITALS: list[dict[str, Any]] = [
    {"country": "Peru", "capital": "Lima", "large": True},
    {"country": "Malta", "capital": "Valletta", "large": False},
    {"country": "Chad", "capital": "N'Djamena", "large": True},
]


def make_task(folder: Path, **fields: Any) -> Task:
    return Task(suite="mine", name="t", prompt=PromptTemplate(query="{{ q }}"), metrics=(), path=folder / "suite.yaml", line=1, **fields)


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def local(folder: Path, rows: list[dict[str, Any]] = CAPITALS, **fields: Any) -> Task:
    write_jsonl(folder / "test.jsonl", rows)
    return make_task(folder, data_files={"test": "test.jsonl"}, **fields)


def error_of(data_sets: DataSets, task: Task, split: str = "test") -> str:
    with pytest.raises(DataError) as caught:
        data_sets.rows(task, split)
    return str(caught.value)


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A data home with one repository of two subsets, and an old name for it beside it."""
    home = tmp_path / "hub"
    repository = home / "geo" / "capitals"
    write_parquet(repository / "data" / "en" / "test-0.parquet", CAPITALS[:2])
    write_parquet(repository / "data" / "en" / "test-1.parquet", CAPITALS[2:])
    write_parquet(repository / "data" / "de" / "dev.parquet", CAPITALS[:1])
    (repository / "README.md").write_text(
        "---\nconfigs:\n"
        "- config_name: en\n  data_files:\n  - split: test\n    path: data/en/test-*\n"
        "- config_name: de\n  data_files:\n  - {split: dev, path: [data/de/dev.parquet]}\n"
        "---\n# Capitals\n"
    )
    (tmp_path / "ALIASES.json").write_text('{"capitals": "geo/capitals"}')
    return home


# ------------------------------------------------------------------------------------------------------- local files


def test_jsonl_beside_the_suite_file_is_read_in_order_without_blank_lines(tmp_path: Path) -> None:
    task = local(tmp_path)
    path = tmp_path / "test.jsonl"
    path.write_text("\ufeff" + path.read_text().replace("\n", "\r\n\n"), encoding="utf-8")

    assert DataSets().rows(task, "test") == list(enumerate(CAPITALS))


def test_a_line_separator_inside_a_text_ends_no_line(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text('{"q": "a\u2028b\u0085c"}\n', encoding="utf-8")

    assert DataSets().rows(make_task(tmp_path, data_files={"test": "test.jsonl"}), "test") == [(0, {"q": "a\u2028b\u0085c"})]


def test_reading_lines_takes_little_more_memory_than_the_rows(tmp_path: Path) -> None:
    task = local(tmp_path, [{"text": f"{row}" + "x" * 2_000_000} for row in range(8)])
    DataSets().rows(local(tmp_path / "other"), "test")  # what is imported first is not counted

    tracemalloc.start()
    try:
        rows = DataSets().rows(task, "test")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(rows) == 8
    assert peak < 1.75 * 8 * 2_000_000  # the file as a whole, its lines and the rows would be three times as much


def test_parquet_beside_the_suite_file_gives_plain_values(tmp_path: Path) -> None:
    rows = [{"choices": {"text": ["a", "b"], "label": [0, 1]}, "day": datetime.date(2020, 1, 2), "none": None, "gold": 1, "p": 0.5}]
    write_parquet(tmp_path / "data" / "x.parquet", rows)

    assert DataSets().rows(make_task(tmp_path, data_files={"test": "data/x.parquet"}), "test") == list(enumerate(rows))


def test_the_filter_keeps_the_numbers_of_the_stored_rows(tmp_path: Path) -> None:
    task = local(tmp_path, hf_filter="large and row.capital != 'Lima'")

    assert DataSets().rows(task, "test") == [(2, CAPITALS[2])]


def test_one_split_under_two_filters_is_two_lists(tmp_path: Path) -> None:
    data_sets = DataSets()

    assert [len(data_sets.rows(local(tmp_path, hf_filter=wanted), "test")) for wanted in ("large", "not large", None)] == [2, 1, 3]


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    data_sets = DataSets()
    before = data_sets.rows(local(tmp_path), "test")
    after = data_sets.rows(local(tmp_path, CAPITALS[::-1]), "test")

    assert (before, after) == (list(enumerate(CAPITALS)), list(enumerate(CAPITALS[::-1])))


def test_a_split_that_was_just_read_is_not_read_again(tmp_path: Path) -> None:
    data_sets = DataSets()
    task = local(tmp_path)

    assert data_sets.rows(task, "test") is data_sets.rows(task, "test")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b'{"a": 1}\n{"a": \n', "test.jsonl:2: not a line of JSON: Expecting value: line 1 column 7 (char 6)", id="cut"),
        pytest.param(b'{"a": 1}\n\n[1]\n', "test.jsonl:3: a row must be a mapping of columns to values, this is list", id="list"),
        pytest.param(b'{"a": 1}\n{"a": "\xff"}\n', "test.jsonl:2: not a line of JSON: 'utf-8' codec can't decode byte 0xff", id="bytes"),
    ],
)
def test_corrupt_jsonl_is_named_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "test.jsonl").write_bytes(content)

    assert error_of(DataSets(), make_task(tmp_path, data_files={"test": "test.jsonl"})).startswith(f"{tmp_path}/{message}")


def test_corrupt_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nothing")

    message = error_of(DataSets(), make_task(tmp_path, data_files={"test": "x.parquet"}))

    assert message.startswith(f"mine|t: {tmp_path}/x.parquet: cannot be read as parquet: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("fields", "split", "message"),
    [
        pytest.param({}, "tests", "mine|t has no split 'tests' (did you mean 'test'?); there are test", id="split"),
        pytest.param(
            {"hf_filter": "larg"},
            "test",
            "test:0: hf_filter 'larg': 'larg' is undefined; the columns are country, capital, large",
            id="column",
        ),
        pytest.param(
            {"hf_filter": "capital == 3"}, "test", "hf_filter 'capital == 3' leaves none of the 3 rows of the split 'test'", id="none left"
        ),
    ],
)
def test_what_is_missing_is_named_with_what_there_is(tmp_path: Path, fields: dict[str, Any], split: str, message: str) -> None:
    assert error_of(DataSets(), local(tmp_path, **fields), split) == f"mine|t: {message}"


def test_an_empty_data_set_is_an_error(tmp_path: Path) -> None:
    assert error_of(DataSets(), local(tmp_path, [])) == f"mine|t: the split 'test' of the files of {tmp_path}/suite.yaml is empty"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("absent.jsonl", "absent.jsonl: No such file or directory", id="absent"),
        pytest.param("suite.csv", "suite.csv: a data file is .jsonl or .parquet", id="other format"),
        pytest.param("folder.jsonl", "folder.jsonl: Is a directory", id="folder"),
    ],
)
def test_a_data_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "suite.csv").write_text("a,b\n")
    (tmp_path / "folder.jsonl").mkdir()

    assert error_of(DataSets(), make_task(tmp_path, data_files={"test": name})) == f"mine|t: {tmp_path}/{message}"


# ------------------------------------------------------------------------------------------------------- a data home


@pytest.mark.parametrize("name", [pytest.param("geo/capitals", id="name"), pytest.param("capitals", id="old name")])
def test_a_data_home_is_read_by_the_cards_of_its_repositories(mirror: Path, name: str) -> None:
    task = make_task(mirror, hf_repo=name, hf_subset="en", hf_revision="means nothing here")

    assert DataSets(data_home=mirror).rows(task, "test") == list(enumerate(CAPITALS))


def test_a_changed_file_of_a_data_home_is_read_again(mirror: Path) -> None:
    data_sets = DataSets(data_home=mirror)
    task = make_task(mirror, hf_repo="geo/capitals", hf_subset="de")
    before = data_sets.rows(task, "dev")
    write_parquet(mirror / "geo" / "capitals" / "data" / "de" / "dev.parquet", CAPITALS[1:2])

    assert (before, data_sets.rows(task, "dev")) == ([(0, CAPITALS[0])], [(0, CAPITALS[1])])


@pytest.mark.parametrize(
    ("fields", "split", "message"),
    [
        pytest.param(
            {"hf_repo": "geo/capitols"},
            "test",
            "no data set geo/capitols under {home} (did you mean 'geo/capitals'?); the hub is asked only without a data home",
            id="repository",
        ),
        pytest.param({"hf_repo": "../hub/geo"}, "test", "'../hub/geo' is not the name of a data set, which is 'owner/name'", id="no name"),
        pytest.param(
            {"hf_repo": "geo/capitals", "hf_subset": "fr"}, "test", "geo/capitals has no subset 'fr'; there are en, de", id="subset"
        ),
        pytest.param({"hf_repo": "geo/capitals"}, "test", "geo/capitals needs an hf_subset: en, de", id="no subset"),
        pytest.param(
            {"hf_repo": "geo/capitals", "hf_subset": "en"},
            "tset",
            "geo/capitals, subset 'en', has no split 'tset' (did you mean 'test'?); there are test",
            id="split",
        ),
    ],
)
def test_what_a_data_home_lacks_is_named_with_what_there_is(mirror: Path, fields: dict[str, Any], split: str, message: str) -> None:
    found = error_of(DataSets(data_home=mirror), make_task(mirror, **fields), split)

    assert found == "mine|t: " + message.format(home=mirror)


def test_a_file_that_the_card_names_and_that_is_gone_is_named(mirror: Path) -> None:
    (mirror / "geo" / "capitals" / "data" / "de" / "dev.parquet").unlink()

    assert error_of(DataSets(data_home=mirror), make_task(mirror, hf_repo="geo/capitals", hf_subset="de"), "dev") == (
        f"mine|t: {mirror}/geo/capitals has no file 'data/de/dev.parquet', which its README.md names for the split 'dev'"
    )


def test_a_repository_without_a_card_is_left_to_datasets_and_never_stale(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    home = tmp_path / "hub"
    data_sets = DataSets(data_home=home)
    path = home / "geo" / "capitals" / "test.jsonl"
    task = make_task(tmp_path, hf_repo="geo/capitals")
    write_jsonl(path, CAPITALS)
    before = data_sets.rows(task, "test")
    # the same size and time, as an archive that is unpacked again gives them: only the inode differs
    status = path.stat()
    path.rename(path.with_suffix(".old"))
    write_jsonl(path, CAPITALS[::-1])
    path.with_suffix(".old").unlink()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = data_sets.rows(task, "test")

    assert (before, after) == (list(enumerate(CAPITALS)), list(enumerate(CAPITALS[::-1])))


@needs_shared
@pytest.mark.parametrize(
    ("repository", "subset", "split"),
    [
        pytest.param("truthfulqa/truthful_qa", "multiple_choice", "validation", id="lists in structs"),
        pytest.param("nyu-mll/glue", "rte", "validation", id="class labels"),
        pytest.param("facebook/babi_qa", "en-valid-qa1", "test", id="structs of lists"),
    ],
)
def test_a_data_home_gives_the_rows_that_datasets_gives(tmp_path: Path, repository: str, subset: str, split: str) -> None:
    datasets = pytest.importorskip("datasets")
    stored = datasets.load_dataset(str(HUB / repository), subset, split=split, cache_dir=str(tmp_path))

    rows = DataSets(data_home=HUB).rows(make_task(tmp_path, hf_repo=repository, hf_subset=subset), split)

    assert rows == list(enumerate(stored))


# ----------------------------------------------------------------------------------------------------------- the hub


def test_the_hub_is_asked_for_exactly_what_the_task_says_without_bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    asked = []

    def load_dataset(*args: Any, **kwargs: Any) -> Any:
        asked.append((args, kwargs, datasets.are_progress_bars_disabled()))
        return datasets.Dataset.from_list(CAPITALS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    bars_before = datasets.are_progress_bars_disabled()
    rows = DataSets().rows(make_task(tmp_path, hf_repo="geo/capitals", hf_subset="en", hf_revision="abc"), "test")

    assert rows == list(enumerate(CAPITALS))
    assert asked == [(("geo/capitals", "en"), {"split": "test", "revision": "abc"}, True)]
    assert datasets.are_progress_bars_disabled() == bars_before


def test_what_the_hub_says_becomes_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    def load_dataset(*args: Any, **kwargs: Any) -> Any:
        raise ValueError("BuilderConfig 'fr' not found.\nAvailable: ['en', 'de']")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)

    assert error_of(DataSets(), make_task(tmp_path, hf_repo="geo/capitals", hf_subset="fr")) == (
        "mine|t: the split 'test' of geo/capitals, subset 'fr' could not be loaded: BuilderConfig 'fr' not found. "
        "Available: ['en', 'de']; --data-home DIR takes data sets from a folder instead of the hub"
    )


@pytest.mark.parametrize(
    ("missing", "fields"),
    [
        pytest.param("datasets", {"hf_repo": "geo/capitals"}, id="datasets"),
        pytest.param("pyarrow", {"data_files": {"test": "suite.parquet"}}, id="pyarrow"),
    ],
)
def test_a_missing_library_is_named_with_its_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, fields: dict[str, Any]
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    (tmp_path / "suite.parquet").touch()

    with pytest.raises(MissingExtraError) as caught:
        DataSets().rows(make_task(tmp_path, **fields), "test")

    assert str(caught.value) == f"{missing} is not installed: pip install 'pytest-lighteval[hub]'"


# ---------------------------------------------------------------------------------------------------------- the row cache


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time at which what the test has written is long settled."""
    now = time.time_ns()
    monkeypatch.setattr("pytest_lighteval.data.data_sets.time.time_ns", lambda: now + 3_600_000_000_000)


def keeping(tmp_path: Path, **arguments: Any) -> DataSets:
    """As a process of its own would have it: nothing in memory, the row cache of all before it on disk."""
    return DataSets(row_cache=RowCache(tmp_path / "rows", limit_bytes=10**6), **arguments)


@pytest.mark.usefixtures("later")
def test_a_later_process_needs_no_library_for_what_one_has_read(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(tmp_path, hf_repo="geo/capitals", hf_subset="en", hf_filter="large")
    first = keeping(tmp_path, data_home=mirror).rows(task, "test")
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    assert keeping(tmp_path, data_home=mirror).rows(task, "test") == first == [(0, CAPITALS[0]), (2, CAPITALS[2])]
    with pytest.raises(MissingExtraError):
        keeping(tmp_path, data_home=mirror).rows(make_task(tmp_path, hf_repo="geo/capitals", hf_subset="en"), "test")


@pytest.mark.usefixtures("later")
def test_a_changed_file_is_read_again_whatever_was_kept_of_it(mirror: Path, tmp_path: Path) -> None:
    task = make_task(tmp_path, hf_repo="geo/capitals", hf_subset="de")
    keeping(tmp_path, data_home=mirror).rows(task, "dev")
    path = mirror / "geo" / "capitals" / "data" / "de" / "dev.parquet"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    write_parquet(path, CAPITALS[2:])
    os.utime(path, ns=times)

    assert keeping(tmp_path, data_home=mirror).rows(task, "dev") == [(0, CAPITALS[2])]


def test_a_file_that_was_written_a_moment_ago_is_not_kept(mirror: Path, tmp_path: Path) -> None:
    keeping(tmp_path, data_home=mirror).rows(make_task(tmp_path, hf_repo="geo/capitals", hf_subset="de"), "dev")

    assert not (tmp_path / "rows").exists()


@pytest.mark.usefixtures("later")
def test_a_folder_that_datasets_must_read_is_kept_until_any_file_of_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    repository = tmp_path / "hub" / "geo" / "capitals"
    write_jsonl(repository / "test.jsonl", CAPITALS)
    task = make_task(tmp_path, hf_repo="geo/capitals")
    keeping(tmp_path, data_home=tmp_path / "hub").rows(task, "test")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "datasets", None)
        assert keeping(tmp_path, data_home=tmp_path / "hub").rows(task, "test") == list(enumerate(CAPITALS))

        write_jsonl(repository / "train.jsonl", CAPITALS[:1])
        with pytest.raises(MissingExtraError):
            keeping(tmp_path, data_home=tmp_path / "hub").rows(task, "test")


def test_lines_of_json_beside_the_suite_are_read_as_they_are(tmp_path: Path) -> None:
    assert keeping(tmp_path).rows(local(tmp_path), "test") == list(enumerate(CAPITALS))

    assert not (tmp_path / "rows").exists()


@pytest.mark.parametrize(
    ("commits", "reads"),
    [
        pytest.param(["a", "a", "a"], 1, id="the-same-commit"),
        pytest.param(["a", "a", "b", "b"], 2, id="a-new-commit"),
        pytest.param(["a", "b", "a", "a"], 2, id="changed-while-it-was-read"),
        pytest.param([None, None], 2, id="no-connection"),
    ],
)
def test_rows_of_the_hub_are_those_of_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commits: list[str | None], reads: int
) -> None:
    datasets = pytest.importorskip("datasets")
    read = []
    said = iter(commits)

    def load_dataset(*args: Any, **kwargs: Any) -> Any:
        read.append((args, kwargs))
        return datasets.Dataset.from_list(CAPITALS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr("pytest_lighteval.data.data_sets.current_commit", lambda repo, revision: next(said))
    monkeypatch.setattr("pytest_lighteval.data.data_sets.confirm_commit", lambda repo, revision, commit: next(said) == commit)
    task = make_task(tmp_path, hf_repo="geo/capitals")

    rows = [keeping(tmp_path).rows(task, "test") for _ in range(2)]

    assert rows == [list(enumerate(CAPITALS))] * 2
    assert len(read) == reads


# ------------------------------------------------------------------------------------------------------- fingerprint


def test_the_fingerprint_is_the_same_in_every_process_and_for_every_order_of_columns() -> None:
    rows: list[tuple[int, Row]] = [
        (0, {"b": [1.5, None, "ä"], "a": {"x": b"\x00"}}),
        (7, {"day": datetime.date(2020, 1, 2), "n": decimal.Decimal("1.20")}),
    ]
    reordered: list[tuple[int, Row]] = [(0, {"a": {"x": b"\x00"}, "b": [1.5, None, "ä"]}), rows[1]]

    written = '{"a":{"x":"00"},"b":[1.5,null,"\\u00e4"]}\n{"day":"2020-01-02","n":"1.20"}\n'
    assert rows_fingerprint(rows) == rows_fingerprint(reordered) == hashlib.sha256(written.encode()).hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        pytest.param([(0, {"a": 2}), (1, {"a": 1})], id="order"),
        pytest.param([(0, {"a": 1}), (1, {"a": 2.0})], id="type"),
        pytest.param([(0, {"a": 1})], id="fewer"),
        pytest.param([(0, {"a": 1}), (1, {"b": 2})], id="column"),
    ],
)
def test_other_content_has_another_fingerprint(other: list[tuple[int, Row]]) -> None:
    assert rows_fingerprint(other) != rows_fingerprint([(0, {"a": 1}), (1, {"a": 2})])


# ------------------------------------------------------------------------------------------------------ row sources


def test_rows_are_known_by_the_repository_after_aliases_its_subset_and_split(mirror: Path) -> None:
    data_sets = DataSets(data_home=mirror)

    def source(repo: str, subset: str | None = "en", split: str = "test") -> str:
        return data_sets.row_source(make_task(mirror, hf_repo=repo, hf_subset=subset), split)

    assert source("capitals") == source("geo/capitals") == "geo/capitals|en|test"
    assert len({source("geo/capitals"), source("geo/capitals", "de"), source("geo/capitals", "en", "dev")}) == 3


def test_a_default_subset_is_the_one_that_the_card_names(mirror: Path) -> None:
    card = mirror / "geo" / "capitals" / "README.md"
    card.write_text(card.read_text().replace("config_name: en", "config_name: en\n  default: true"))
    data_sets = DataSets(data_home=mirror)

    unnamed, named = (data_sets.row_source(make_task(mirror, hf_repo="geo/capitals", hf_subset=subset), "test") for subset in (None, "en"))

    assert unnamed == named == "geo/capitals|en|test"


def test_on_the_hub_nobody_is_asked_for_the_source_of_rows(tmp_path: Path) -> None:
    found = {DataSets().row_source(make_task(tmp_path, hf_repo=repo), "test") for repo in ("Geo/Capitals", "geo/capitals")}

    assert found == {"geo/capitals|default|test"}


def test_rows_of_a_file_are_known_by_its_content(tmp_path: Path) -> None:
    data_sets = DataSets()
    one, copy, other = local(tmp_path / "a"), local(tmp_path / "b", hf_filter="large"), local(tmp_path / "c", CAPITALS[:2])

    assert data_sets.row_source(one, "test") == data_sets.row_source(copy, "test") != data_sets.row_source(other, "test")
    with pytest.raises(DataError, match="has no split 'dev'"):
        data_sets.row_source(one, "dev")
