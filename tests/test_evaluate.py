"""One task from rows to a result, on the fake backend and on engines made to break."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from pytest_lighteval.asking import Progress, PromptedDoc
from pytest_lighteval.backends.fake import FakeBackend
from pytest_lighteval.errors import DataError, RequestsFailedError
from pytest_lighteval.evaluate import EvaluationSettings, evaluate, task_kinds
from pytest_lighteval.metrics import overlap
from pytest_lighteval.types import (
    Ask,
    Detail,
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    Message,
    PromptTemplate,
    RequestKind,
    Task,
    TaskResult,
)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """Twelve questions with four choices, and as many of them as few-shot pool."""
    rows = [{"question": f"what is {n}?", "choices": [f" a{n}", f" b{n}", f" c{n}", f" d{n}"], "answer": n % 4} for n in range(12)]
    for split in ("test", "dev"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Task(
        suite="mini",
        name="choice",
        prompt=PromptTemplate(query="{{ question }}", choices="{{ choices }}", gold="{{ answer }}", instruction="Choose.\n"),
        metrics=("loglikelihood_acc",),
        path=tmp_path / "mini.yaml",
        line=1,
        data_files={"test": "test.jsonl", "dev": "dev.jsonl"},
        hf_avail_splits=("test", "dev"),
        evaluation_splits=("test",),
        few_shots_select="random_sampling",
    )


def details_of(task: Task, *, few_shots: int = 0, truncate: bool = False, settings: EvaluationSettings | None = None) -> list[Detail]:
    details: list[Detail] = []
    evaluate(task, FakeBackend(), few_shots=few_shots, truncate=truncate, settings=settings, on_detail=details.append)
    return details


def test_reserved_documents_are_the_examples_and_are_not_asked(task: Task) -> None:
    alone = replace(task, data_files={"test": "test.jsonl"}, hf_avail_splits=("test",), few_shots_select="sequential")
    reserving = replace(alone, few_shots_reserved=3, cluster="{{ 'same' if row.question in ('what is 1?', 'what is 7?') else '' }}")

    details = details_of(reserving, few_shots=2)
    result = evaluate(reserving, FakeBackend(), few_shots=0)

    # 0, 1 and 2 are kept, and 7 has the source of 1
    asked = {f"test:{row}" for row in (3, 4, 5, 6, 8, 9, 10, 11)}
    assert {detail.doc.id for detail in details} == asked
    assert {shot for detail in details for shot in detail.few_shot_ids} == {"test:0", "test:1"}
    assert {document.id for document in result.documents} == asked
    assert "4 documents are kept for few-shot examples, or share a source with one" in result.notes


def test_every_document_is_scored_once_and_the_mean_has_its_error(task: Task) -> None:
    result = evaluate(task, FakeBackend(accuracy=0.5), few_shots=0)

    scores = [document.values["acc"] for document in result.documents]
    assert sorted(document.id for document in result.documents) == sorted(f"test:{row}" for row in range(12))
    assert result["acc"] == sum(map(float, scores)) / 12  # type: ignore[arg-type]
    mean = result["acc"]
    assert result.metrics["acc"].stderr == pytest.approx((mean * (1 - mean) / 11) ** 0.5)
    assert (result.metrics["acc"].n, result.num_truncated, result.max_samples) == (12, 0, None)


def test_max_samples_takes_the_first_of_the_same_order_with_the_same_few_shots(task: Task) -> None:
    every = details_of(task, few_shots=2)
    some = details_of(task, few_shots=2, settings=EvaluationSettings(max_samples=5))

    assert [(detail.doc.id, detail.few_shot_ids, detail.prompt_digest) for detail in some] == [
        (detail.doc.id, detail.few_shot_ids, detail.prompt_digest) for detail in every[:5]
    ]


def test_an_unknown_metric_name_in_a_result_says_what_there_is(task: Task) -> None:
    result = evaluate(task, FakeBackend(), few_shots=0)

    with pytest.raises(KeyError, match="reports no 'f1', only acc"):
        result["f1"]


def test_several_few_shot_seeds_are_one_cluster_a_document(task: Task) -> None:
    settings = EvaluationSettings(few_shot_seeds=3)

    result = evaluate(task, FakeBackend(accuracy=1.0), few_shots=2, settings=settings)

    assert len(result.documents) == 36
    assert result.metrics["acc"].n == 12
    first = [document.prompt_digest for document in result.documents if document.few_shot_seed == 0]
    plain = evaluate(task, FakeBackend(accuracy=1.0), few_shots=2)
    assert first == [document.prompt_digest for document in plain.documents]


def test_the_truncation_flag_drops_few_shots_until_the_prompt_fits(task: Task) -> None:
    details: list[Detail] = []

    result = evaluate(task, FakeBackend(max_length=11), few_shots=4, truncate=True, on_detail=details.append)

    # the fake's tokens are words: 1 of the instruction, 3 a question, 1 an answer
    assert {len(detail.few_shot_ids) for detail in details} == {1}
    assert (result.effective_few_shots, result.num_truncated) == (1.0, 12)


def test_requests_that_fail_make_the_task_fail_after_the_others_are_kept(task: Task) -> None:
    details: list[Detail] = []

    with pytest.raises(
        RequestsFailedError, match=r"mini\|choice\|0: 2 of 12 documents have no answer; the first is test:\d+: planted failure"
    ):
        evaluate(task, FakeBackend(fail=("test:1", "test:7")), few_shots=0, on_detail=details.append)

    assert {detail.doc.id: detail.error for detail in details if detail.error} == {"test:1": "planted failure", "test:7": "planted failure"}
    assert all(detail.values for detail in details if detail.error is None)


def test_a_backend_that_forgets_a_request_is_an_error(task: Task) -> None:
    class Forgetful(FakeBackend):
        def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]:
            yield from list(super().loglikelihood(requests))[:-1]

    with pytest.raises(RequestsFailedError, match="backend 'fake' answered 11 of 12 loglikelihood requests"):
        evaluate(task, Forgetful(), few_shots=0)


def test_progress_counts_every_answer_up_to_the_total(task: Task) -> None:
    seen: list[tuple[int, int]] = []

    def watch(progress: Progress) -> None:
        seen.append((progress.done, progress.total))

    evaluate(task, FakeBackend(), few_shots=0, on_progress=watch)

    assert seen == [(done, 12) for done in range(13)]


def test_a_task_of_two_kinds_asks_both(task: Task) -> None:
    both = replace(task, metrics=("loglikelihood_acc", "exact_match"))
    details: list[Detail] = []

    result = evaluate(both, FakeBackend(accuracy=1.0), few_shots=0, on_detail=details.append)

    assert task_kinds(both) == (RequestKind.GENERATE, RequestKind.LOGLIKELIHOOD)
    assert (result["acc"], result["em"]) == (1.0, 1.0)
    assert set(details[0].responses) == {Ask.CHOICES, Ask.GENERATION}


def test_reasoning_is_taken_out_of_what_is_scored_and_kept_in_the_details(task: Task) -> None:
    class Thinker(FakeBackend):
        def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
            for index, response in super().generate(requests):
                yield index, replace(response, texts=tuple(f"<think>hm, {text}?</think>\n{text}" for text in response.texts))

    spoken = replace(task, metrics=("exact_match",))
    details: list[Detail] = []
    settings = EvaluationSettings(reasoning_tags=(("<think>", "</think>"),))

    plain = evaluate(spoken, Thinker(accuracy=1.0), few_shots=0)
    stripped = evaluate(spoken, Thinker(accuracy=1.0), few_shots=0, settings=settings, on_detail=details.append)

    assert (plain["em"], stripped["em"]) == (0.0, 1.0)
    response = details[0].responses[Ask.GENERATION]
    assert isinstance(response, GenerateResponse)
    assert response.texts[0].startswith("<think>hm")
    assert details[0].scored_texts[Ask.GENERATION] == (details[0].doc.golds[0].strip(),)


def test_answers_that_are_empty_for_a_known_reason_are_scored_and_counted(task: Task) -> None:
    class Refuser(FakeBackend):
        def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
            for index, response in super().generate(requests):
                yield index, response if index > 1 else replace(response, texts=("",), empty_reasons=("the model refused: No.",))

    details: list[Detail] = []
    result = evaluate(replace(task, metrics=("exact_match",)), Refuser(accuracy=1.0), few_shots=0, on_detail=details.append)

    assert result["em"] == pytest.approx(10 / 12)
    assert "2 documents have an empty answer, as the model refused or only thought; the details say why" in result.notes
    answers = [detail.responses[Ask.GENERATION] for detail in details]
    assert [isinstance(answer, GenerateResponse) and answer.empty_reasons for answer in answers] == [("the model refused: No.",)] * 2 + [
        ()
    ] * 10


def test_stop_sequences_do_not_end_thoughts_and_thoughts_that_are_cut_are_counted(task: Task) -> None:
    class Thinker(FakeBackend):
        asked: ClassVar[set[tuple[str, ...]]] = set()

        def render(self, messages: Sequence[Message]) -> str:
            return "".join(message.content for message in messages) + "<Think>\n"

        def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
            self.asked.update(request.stop_sequence for request in requests)
            for index, response in super().generate(requests):
                end = "" if index == 0 else f"</think>\n{response.texts[0]}\nand more"
                yield index, replace(response, texts=("one\ntwo" + end,), finish_reasons=("length",))

    spoken = replace(task, metrics=("exact_match",), stop_sequence=("\n",))
    tags = (("<think>", "</think>"),)
    plain = evaluate(spoken, Thinker(accuracy=1.0), few_shots=0, settings=EvaluationSettings(reasoning_tags=tags))
    chat = EvaluationSettings(reasoning_tags=tags, use_chat_template=True)
    details: list[Detail] = []
    opened = evaluate(replace(spoken, stop_sequence=()), Thinker(accuracy=1.0), few_shots=0, settings=chat, on_detail=details.append)

    assert Thinker.asked == {()}
    # without a template nobody knows that the first answer is a thought; its stop sequence ends it
    assert (round(plain["em"] * len(details)), plain.notes) == (len(details) - 1, ())
    assert "1 document has an answer that ends within its thoughts: what is left of it is scored" in opened.notes
    assert [detail.cut_in_thoughts for detail in details] == [1, *[0] * (len(details) - 1)]
    assert details[0].scored_texts[Ask.GENERATION] == ("",)


def test_answers_that_end_at_the_limit_are_counted_once(task: Task) -> None:
    class Cut(FakeBackend):
        def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
            for index, response in super().generate(requests):
                reasons = ("length" if index < 2 else "stop",) * len(response.texts)
                yield index, replace(response, finish_reasons=reasons)

    details: list[Detail] = []
    task = replace(task, metrics=("exact_match", "maj_at_4_math"), generation_size=8)
    result = evaluate(task, Cut(), few_shots=0, settings=EvaluationSettings(max_samples=3), on_detail=details.append)

    assert (result.num_cut, result.num_texts) == (sum(detail.num_cut for detail in details), 3 * 5)
    assert 0 < result.num_cut < result.num_texts


def test_a_document_that_a_metric_gives_up_on_is_counted_and_its_other_metrics_are_scored(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlap, "MOST_WORD_PAIRS", 0)
    task = replace(task, metrics=("exact_match", "rougeL"), generation_size=8)
    details: list[Detail] = []
    result = evaluate(task, FakeBackend(), few_shots=0, settings=EvaluationSettings(max_samples=3), on_detail=details.append)

    assert {name: value for name, value in details[0].values.items() if name != "em"} == {"rougeL": None}
    assert details[0].error is None
    assert details[0].not_judged["rougeL"].endswith("at most 0 are taken")
    assert [(number.n, name) for name, number in result.metrics.items()] == [(3, "em"), (0, "rougeL")]
    assert result.notes == ("3 documents are not judged by rougeL and left out of its score; the details say why",)
    assert result.not_judged == {"rougeL": 3}


def test_a_chat_has_no_stop_sequences_and_turns_for_few_shots(task: Task) -> None:
    spoken = replace(task, metrics=("exact_match",), stop_sequence=("\n",), generation_size=7)

    plain = details_of(spoken, few_shots=1)[0].requests[Ask.GENERATION]
    chat = details_of(spoken, few_shots=1, settings=EvaluationSettings(use_chat_template=True))[0].requests[Ask.GENERATION]

    assert isinstance(plain, GenerateRequest)
    assert isinstance(chat, GenerateRequest)
    assert (plain.stop_sequence, plain.max_new_tokens) == (("\n",), 7)
    assert chat.stop_sequence == ()
    assert [turn.role for turn in chat.prompt if not isinstance(turn, str)] == ["user", "assistant", "user"]


def test_a_pmi_metric_without_its_prompt_is_an_error_that_says_so(task: Task) -> None:
    from pytest_lighteval import metrics

    if "loglikelihood_acc_pmi" not in metrics.metric_names():
        pytest.skip("no PMI metric is registered under this name")
    with pytest.raises(DataError, match=r"a PMI metric needs prompt\.unconditioned_query"):
        evaluate(replace(task, metrics=("loglikelihood_acc_pmi",)), FakeBackend(), few_shots=0)


def test_fewer_examples_than_were_asked_for_are_noted(task: Task) -> None:
    """The pool has twelve, and one of them is the evaluated document itself."""
    short = evaluate(replace(task, few_shots_select="sequential"), FakeBackend(), few_shots=500)
    enough = evaluate(replace(task, few_shots_select="sequential"), FakeBackend(), few_shots=11)

    assert short.effective_few_shots == 11.0
    assert short.notes == ("11 few-shot examples, not 500: the selection found no more",)
    assert enough.notes == ()


def test_examples_that_only_the_truncation_flag_drops_are_no_small_pool(task: Task) -> None:
    result = evaluate(task, FakeBackend(max_length=11), few_shots=4, truncate=True)

    assert (result.effective_few_shots, result.notes) == (1.0, ())


def test_few_shots_from_the_evaluated_documents_are_noted(task: Task) -> None:
    alone = replace(task, hf_avail_splits=("test",), data_files={"test": "test.jsonl"})

    result = evaluate(alone, FakeBackend(), few_shots=2)

    assert result.notes == ("few-shot examples come from the evaluated documents themselves: the data set has no other split",)


# ------------------------------------------------------------------------------------------------ stopping early


class Backwards:
    """Parts of `step` documents, from the last document to the first; stops after `most` parts."""

    def __init__(self, step: int, most: int = 100) -> None:
        self.step = step
        self.most = most
        self.seen: list[TaskResult] = []

    def parts(self, docs: Sequence[PromptedDoc]) -> Sequence[Sequence[int]]:
        order = list(reversed(range(len(docs))))
        return [order[start : start + self.step] for start in range(0, len(order), self.step)]

    def should_stop(self, result: TaskResult) -> bool:
        self.seen.append(result)
        return len(self.seen) == self.most


class Watched(FakeBackend):
    """Remembers how many requests each call brought."""

    def __init__(self, **arguments: object) -> None:
        super().__init__(**arguments)
        self.calls: list[tuple[str, int]] = []

    def loglikelihood(self, requests: Sequence[LoglikelihoodRequest]) -> Iterator[tuple[int, LoglikelihoodResponse]]:
        self.calls.append(("loglikelihood", len(requests)))
        return super().loglikelihood(requests)

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, GenerateResponse]]:
        self.calls.append(("generate", len(requests)))
        return super().generate(requests)


def test_a_rule_that_never_stops_changes_nothing(task: Task) -> None:
    whole = evaluate(task, FakeBackend(), few_shots=2)
    in_parts = evaluate(task, FakeBackend(), few_shots=2, stopping=Backwards(5))

    assert replace(in_parts, seconds=0.0) == replace(whole, seconds=0.0)


def test_each_part_is_one_call_of_each_kind(task: Task) -> None:
    backend = Watched()

    evaluate(replace(task, metrics=("loglikelihood_acc", "exact_match")), backend, few_shots=0, stopping=Backwards(5))

    assert backend.calls == [("generate", 5), ("loglikelihood", 5)] * 2 + [("generate", 2), ("loglikelihood", 2)]


def test_an_evaluation_ends_after_the_part_at_which_the_rule_stops_it(task: Task) -> None:
    whole = evaluate(task, FakeBackend(), few_shots=2)
    backend, stopping = Watched(), Backwards(5, most=2)

    result = evaluate(task, backend, few_shots=2, stopping=stopping)

    assert backend.calls == [("loglikelihood", 5)] * 2
    assert result.documents == whole.documents[2:]
    assert (result.num_saved, whole.num_saved, result.metrics["acc"].n) == (2, 0, 10)
    assert [len(seen.documents) for seen in stopping.seen] == [5, 10]


def test_saved_documents_are_counted_once_however_many_seeds_would_ask_them(task: Task) -> None:
    class ByDocument(Backwards):
        def parts(self, docs: Sequence[PromptedDoc]) -> Sequence[Sequence[int]]:
            names = list(dict.fromkeys(asked.doc.id for asked in docs))
            return [[index for index, asked in enumerate(docs) if (asked.doc.id in names[:8]) is first] for first in (True, False)]

    result = evaluate(task, FakeBackend(), few_shots=2, settings=EvaluationSettings(few_shot_seeds=3), stopping=ByDocument(0, most=1))

    assert (len(result.documents), result.num_saved) == (24, 4)


def test_a_failed_request_keeps_an_evaluation_from_stopping_early(task: Task) -> None:
    details: list[Detail] = []

    with pytest.raises(RequestsFailedError, match="1 of 12 documents have no answer"):
        evaluate(task, FakeBackend(fail=("test:1",)), few_shots=0, stopping=Backwards(12, most=1), on_detail=details.append)

    assert len(details) == 12


def test_progress_of_parts_has_the_whole_task_for_its_total(task: Task) -> None:
    seen: list[tuple[int, int]] = []

    evaluate(task, FakeBackend(), few_shots=0, stopping=Backwards(6), on_progress=lambda now: seen.append((now.done, now.total)))

    assert sorted(set(seen)) == [(done, 12) for done in range(13)]


def test_a_known_defect_is_a_note_of_every_result_and_names_the_sound_task(task: Task) -> None:
    wrong = replace(task, known_defect="its last choice never counts", corrected_by="corrected|mini.choice")

    assert evaluate(wrong, FakeBackend(), few_shots=0).notes == (
        "known defect: its last choice never counts; corrected|mini.choice is the sound version",
    )


def test_an_instruction_glued_to_a_system_prompt_is_noted_unless_the_task_keeps_it_apart(task: Task) -> None:
    in_chats = EvaluationSettings(system_prompt="Be brief.", use_chat_template=True)

    def notes(one: Task, settings: EvaluationSettings) -> tuple[str, ...]:
        return evaluate(one, FakeBackend(), few_shots=0, settings=settings).notes

    assert notes(task, in_chats) == ("the task's instruction follows the system prompt directly, in one message",)
    assert notes(replace(task, system_prompt_apart=True), in_chats) == ()
    assert notes(task, replace(in_chats, system_prompt=None)) == ()
