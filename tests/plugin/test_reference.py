"""The reference of a run: each task is measured once whoever asks, and its model is in memory only in between."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.errors import BackendError, RequestsFailedError, UnsupportedRequestError
from pytest_lighteval.plugin.exchange import forget
from pytest_lighteval.plugin.reference import FOLDER, Reference
from pytest_lighteval.types import Backend, TaskKey, TaskResult
from tests.baselines.samples import GSM8K, result

OTHER = TaskKey(suite="leaderboard", task="arc", few_shots=25)


class Made:
    """Backends as they are made, and what is measured with them."""

    def __init__(self) -> None:
        self.open = 0
        self.most_open = 0
        self.measured: list[TaskKey] = []

    def make(self) -> Backend:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        counter = self

        class Counted(FakeBackend):
            def close(self) -> None:
                counter.open -= 1

        return Counted()

    def ask(self, reference: Reference, key: TaskKey = GSM8K) -> TaskResult | None:
        def measure(backend: Backend, folder: Path) -> TaskResult:
            self.measured.append(key)
            return result({"qem": [1.0, float("nan"), None]}, key=key)

        return reference.result(key, measure, lacking=lambda backend: None).result


@pytest.fixture
def made() -> Made:
    return Made()


def test_a_task_is_measured_once_whichever_process_asks(made: Made, tmp_path: Path) -> None:
    first, second = (Reference(made.make, tmp_path) for _ in range(2))

    answers = [made.ask(first), made.ask(second), made.ask(first, OTHER)]

    assert made.measured == [GSM8K, OTHER]
    assert [answer and answer.key for answer in answers] == [GSM8K, GSM8K, OTHER]
    assert answers[0] is not None
    assert [document.values["qem"] for document in answers[0].documents][::2] == [1.0, None]
    assert str(answers[0].documents[1].values["qem"]) == "nan"


def test_those_who_ask_at_once_wait_for_one_measurement(made: Made, tmp_path: Path) -> None:
    references = [Reference(made.make, tmp_path) for _ in range(4)]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(made.ask, references))

    assert made.measured == [GSM8K]
    assert all(answers)


def test_who_finds_a_result_makes_no_model(made: Made, tmp_path: Path) -> None:
    made.ask(Reference(made.make, tmp_path))
    made.ask(Reference(made.make, tmp_path))

    assert made.most_open == 1


def test_a_released_model_is_made_again_when_it_is_needed(made: Made, tmp_path: Path) -> None:
    reference = Reference(made.make, tmp_path)
    made.ask(reference)
    reference.release()
    reference.release()
    assert made.open == 0

    made.ask(reference, OTHER)

    assert (made.open, made.most_open) == (1, 1)


def test_a_failure_is_kept_as_the_problem_of_all_who_ask(made: Made, tmp_path: Path) -> None:
    def failing(backend: Backend, folder: Path) -> TaskResult:
        raise RequestsFailedError("no answer")

    first = Reference(made.make, tmp_path).result(GSM8K, failing, lacking=lambda backend: None)
    second = Reference(made.make, tmp_path).result(GSM8K, failing, lacking=lambda backend: None)

    assert (first.problem, first.is_new) == ("no answer", True)
    assert (second.problem, second.result, second.is_new) == ("no answer", None, False)


def test_what_a_backend_cannot_do_is_told_apart(made: Made, tmp_path: Path) -> None:
    held = Reference(made.make, tmp_path).result(GSM8K, lambda backend, folder: None, lacking=lambda backend: "no log-likelihoods")  # type: ignore[arg-type, return-value]

    assert (held.problem, held.lacking) == ("no log-likelihoods", True)


def test_what_a_backend_turns_out_to_be_unable_to_do_is_told_apart_too(made: Made, tmp_path: Path) -> None:
    def unable(backend: Backend, folder: Path) -> TaskResult:
        raise UnsupportedRequestError("no log-probabilities")

    first, second = (Reference(made.make, tmp_path).result(GSM8K, unable, lacking=lambda backend: None) for _ in range(2))

    assert (first.problem, first.lacking, first.result) == ("no log-probabilities", True, None)
    assert (second.problem, second.lacking, second.is_new) == ("no log-probabilities", True, False)


def test_a_bug_is_nobodys_result(made: Made, tmp_path: Path) -> None:
    def broken(backend: Backend, folder: Path) -> TaskResult:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Reference(made.make, tmp_path).result(GSM8K, broken, lacking=lambda backend: None)

    assert made.ask(Reference(made.make, tmp_path)) is not None


def test_a_folder_that_cannot_be_written_is_an_error_in_one_line(made: Made, tmp_path: Path) -> None:
    (tmp_path / "reference").write_text("a file")

    with pytest.raises(BackendError, match="what workers share cannot be kept"):
        made.ask(Reference(made.make, tmp_path))


def test_what_passed_between_workers_is_forgotten_at_the_end(made: Made, tmp_path: Path) -> None:
    made.ask(Reference(made.make, tmp_path))
    assert list(tmp_path.rglob("*.msgpack"))

    forget(tmp_path / FOLDER)
    forget(tmp_path / FOLDER)

    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
