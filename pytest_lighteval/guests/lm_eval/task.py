"""One task of the harness: its documents, requests and scores, made by the harness's own code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pytest_lighteval.data.data_sets import rows_fingerprint
from pytest_lighteval.data.sources import row_source
from pytest_lighteval.errors import DataError, LightevalError, UserInputError, in_one_line
from pytest_lighteval.guests.lm_eval.configs import Config
from pytest_lighteval.guests.lm_eval.data_home import served_from
from pytest_lighteval.guests.lm_eval.declared import Declared, corpus_metric, reported_name, value_of
from pytest_lighteval.guests.lm_eval.harness import FEW_SHOT_SEED, as_alone, build_task, find_aggregate, load, whole_config
from pytest_lighteval.guests.lm_eval.plain_values import frozen
from pytest_lighteval.guests.lm_eval.requests import Asked, ChatPrompt, answers_of, as_requests, prompt_of, unheeded
from pytest_lighteval.types import (
    Ask,
    CorpusMetric,
    Doc,
    GuestDocument,
    GuestDocuments,
    GuestSettings,
    Message,
    Metric,
    PromptTemplate,
    RequestKind,
    Response,
    Task,
)

Render = Callable[[Sequence[Message]], str | None]


@dataclass(frozen=True, kw_only=True)
class LmEvalGuest:
    """A task of the harness, built when its documents are asked for.

    Its metrics are those that its YAML declares. What it reports beyond them joins when a document has it, averaged, as in the harness.
    """

    name: str
    """The harness's."""
    path: str
    """Its YAML file. Empty: it is declared inside of a group."""
    changes: Config
    declared: Declared
    data_home: Path | None
    harness: str = "lm-evaluation-harness"
    metrics: tuple[Metric, ...] = field(default=())
    corpus: dict[str, CorpusMetric] = field(default_factory=dict)
    """Of the one metric in `metrics`; it grows."""
    rules: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """What is known of each metric; it grows."""

    @property
    def kinds(self) -> tuple[RequestKind, ...]:
        """See `Guest.kinds`."""
        return self.declared.kinds

    @property
    def where(self) -> str:
        """The task, in messages."""
        return f"lm_eval|{self.name}"

    def documents(self, settings: GuestSettings, render: Render) -> GuestDocuments:
        """See `Guest.documents`."""
        with as_alone(), served_from(self.data_home, self._as_task(), self.declared.split) as lacking:
            try:
                return self._documents(settings, render)
            except LightevalError:
                raise
            except Exception as error:  # the harness, its libraries and the task's own code each raise their own kinds
                hint = f"; the data home has no split {lacking[0]!r}, which the task names" if lacking else ""
                raise DataError(f"{self.where}: {_source_of(error)}: {in_one_line(error)}{hint}") from error

    def _documents(self, settings: GuestSettings, render: Render) -> GuestDocuments:
        config = whole_config(self.path, self.changes, self.name)
        task = build_task(config, where=self.where)
        self._check_shots(task, settings.few_shots)
        # its object has made them already; asking it again would process them again
        rows = list(getattr(task, "task_docs", None) or task.eval_docs)
        if not rows:
            raise DataError(f"{self.where}: the split {self.declared.split!r} is empty")
        writer = _Writer(guest=self, task=task, settings=settings, template=_template(render) if settings.use_chat_template else None)
        documents = []
        for seed in range(settings.few_shot_seeds):
            task.set_config(key="num_fewshot", value=settings.few_shots)
            task.set_fewshot_seed(seed=FEW_SHOT_SEED + seed)
            for number, row in enumerate(rows[: settings.max_samples]):
                documents.append(writer.document(number, row, seed))
        split = self.declared.split
        is_plain = config.get("process_docs") is None and config.get("custom_dataset") is None and "class" not in config
        return GuestDocuments(
            documents=documents,
            fingerprint=_fingerprint(rows),
            row_sources=self._row_source(config, split) if is_plain else {},
            notes=tuple(_notes(config)),
        )

    def _check_shots(self, task: Any, count: int) -> None:
        if task.get_config("num_fewshot") == 0 and count:
            raise UserInputError(f"{self.where}: its YAML says num_fewshot: 0, which the harness never changes: ask for 0 examples")

    def _row_source(self, config: Config, split: str) -> dict[str, str]:
        try:
            return {split: row_source(self._as_task(config), split, data_home=self.data_home)}
        except LightevalError:  # it reads files that are no data set
            return {}

    def _as_task(self, config: Mapping[str, Any] = MappingProxyType({})) -> Task:
        """For readers of data, which name the task in messages."""
        repo, subset = config.get("dataset_path"), config.get("dataset_name")
        return Task(
            suite="lm_eval",
            name=self.name,
            prompt=PromptTemplate(query=""),
            metrics=(),
            path=Path(self.path),
            line=1,
            hf_repo=None if repo is None else str(repo),
            hf_subset=None if subset is None else str(subset),
        )

    def values(self, task: Any, chosen: str, scored: Mapping[str, Any]) -> dict[str, Any]:
        """What one filter's values are here, by reported name. A number that was not declared joins the metric."""
        values = {}
        for name, value in scored.items():
            reported = reported_name(name, chosen)
            if name not in self.rules:
                self.rules[name] = _rule_of(task, name)
            if reported not in self.corpus:
                self.corpus[reported] = corpus_metric(name, self.rules[name], find=_own_or_known, where=f"{self.where}: {name}")
            values[reported] = self.kept(name, value, is_number=self.corpus[reported].is_mean)
        return values

    def kept(self, name: str, value: Any, *, is_number: bool) -> Any:
        """A document's value of a metric as files hold it. `is_number`: only a number has a mean. Raises DataError."""
        try:
            kept = value_of(name, self.rules[name], frozen(value))
        except TypeError as error:
            raise DataError(f"{self.where}: {name}: its value of a document has no form in files: {error}") from error
        if is_number and not isinstance(kept, int | float) and (kept is not None or value is None):
            raise DataError(f"{self.where}: {name}: its value of a document is {value!r:.80}, which has no mean: a number is needed")
        return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writer:
    """Makes documents of rows, with the harness's object of the task."""

    guest: LmEvalGuest
    task: Any
    settings: GuestSettings
    template: Callable[..., str] | None
    """None: plain text."""

    def document(self, number: int, row: Any, seed: int) -> GuestDocument:
        """Call in the order of the rows: the harness draws few-shot examples from one stream for all documents."""
        task, is_chat = self.task, self.template is not None
        count = self.settings.few_shots
        context = task.fewshot_context(
            row,
            num_fewshot=count,
            system_instruction=self.settings.system_prompt,
            apply_chat_template=is_chat,
            fewshot_as_multiturn=is_chat,
            chat_template=self.template,
            gen_prefix=task.doc_to_prefix(row),
        )
        made = task.construct_requests(
            doc=row,
            ctx=context,
            metadata=(self.guest.name, number, task.get_config("repeats") or 1),
            apply_chat_template=is_chat,
            chat_template=self.template,
        )
        instances = sorted(made if isinstance(made, list) else [made], key=lambda instance: instance.idx)
        asked = [Asked(kind=one.request_type, arguments=tuple(one.args), repeats=one.repeats or 1) for one in instances]
        requests = as_requests(asked, expects_thoughts=self.settings.expects_thoughts)
        doc = _doc(task, row, f"{self.guest.declared.split}:{number}", asked)
        return GuestDocument(
            doc=doc,
            few_shot_seed=seed,
            num_shots=count,
            prompt=prompt_of(asked[0].arguments[0]),
            requests=requests.requests,
            score=_Scorer(guest=self.guest, task=task, row=row, doc=doc.id, instances=instances, asked=asked, places=requests.places),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scorer:
    """Scores one document: the harness's filters, then its metrics."""

    guest: LmEvalGuest
    task: Any
    row: Any
    doc: str
    instances: Sequence[Any]
    asked: Sequence[Asked]
    places: Sequence[tuple[str, int]]

    def __call__(self, responses: Mapping[str, Response]) -> dict[str, Any]:
        """See `GuestDocument.score`."""
        try:
            with as_alone():
                return self._values(answers_of(self.asked, self.places, responses))
        except LightevalError:
            raise
        except Exception as error:  # filters and metrics may be the user's code
            problem = f"{self.doc}: it cannot be scored: {_source_of(error)}: {in_one_line(error)}"
            raise DataError(f"{self.guest.where}: {problem}") from error

    def _values(self, answers: Sequence[list[Any]]) -> dict[str, Any]:
        for instance, repeated in zip(self.instances, answers, strict=True):
            instance.resps, instance.filtered_resps = repeated, {}
        for ensemble in self.task._filters:  # the harness filters all documents at once, and each on its own
            ensemble.apply(self.instances)
        values: dict[str, Any] = {}
        for chosen in self.instances[0].filtered_resps:
            filtered = [instance.filtered_resps[chosen] for instance in self.instances]
            values.update(self.guest.values(self.task, chosen, self.task.process_results(self.row, filtered)))
        for instance in self.instances:
            instance.resps, instance.filtered_resps = [], {}
        return values


def make_guest(name: str, path: str, changes: Config, declared: Declared, data_home: Path | None) -> LmEvalGuest:
    """The guest of a task, with the one metric that scores it."""
    corpus = dict(declared.corpus)
    metric = Metric(name="lm_eval", ask=Ask.CHOICES, sample=_never, corpus=corpus)
    return LmEvalGuest(
        name=name,
        path=path,
        changes=changes,
        declared=declared,
        data_home=data_home,
        metrics=(metric,),
        corpus=corpus,
        rules=dict(declared.rules),
    )


def _never(doc: Doc, response: Any) -> dict[str, Any]:
    raise AssertionError("a guest scores its documents itself")


def _template(render: Render) -> Callable[..., str]:
    """The harness's `chat_template`, by the backend's."""

    def chat_template(history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        turns = tuple(Message(role=turn["role"], content=turn["content"]) for turn in history)  # type: ignore[arg-type]
        begun = ""
        if not add_generation_prompt:  # the last turn is the beginning of the answer
            *before, last = turns
            turns, begun = tuple(before), last.content
        text = render(turns)
        if begun:
            if text is None:
                raise UserInputError("gen_prefix begins the model's answer, which needs a chat template that this backend knows")
            return text + begun
        return ChatPrompt(text or "", turns)

    return chat_template


def _doc(task: Any, row: Any, name: str, asked: Sequence[Asked]) -> Doc:
    """The document for details, reports and engines that know the right answer."""
    first = asked[0]
    query = str(first.arguments[0])
    try:
        text = task.doc_to_text(row)
        query = text if isinstance(text, str) else query
        choices, gold = _choices(task, row, asked)
    except Exception:  # the task's own code; what is asked and scored does not need it
        choices, gold = (), ()
    return Doc(id=name, query=query, choices=choices, gold=gold)


def _choices(task: Any, row: Any, asked: Sequence[Asked]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    if task.OUTPUT_TYPE == "multiple_choice":
        options = list(task.doc_to_choice(row))
        right = task.doc_to_text(row) if task.multiple_input else task.doc_to_target(row)
        rights = right if isinstance(right, list) else [right]
        texts = [str(one.arguments[1]) for one in asked[: len(options)]]
        choices = tuple(texts if not task.multiple_input and len(texts) == len(options) else map(str, options))
        places = [options.index(one) if isinstance(one, str) and one in options else one for one in rights]
        return choices, tuple(place for place in places if isinstance(place, int) and 0 <= place < len(options))
    if task.OUTPUT_TYPE == "loglikelihood":
        return (str(asked[0].arguments[1]),), (0,)
    if task.OUTPUT_TYPE == "loglikelihood_rolling":
        return (), ()
    target = task.doc_to_target(row)
    if isinstance(target, int) and task.get_config("doc_to_choice") is not None:
        target = task.doc_to_choice(row)[target]
    golds = tuple(str(one) for one in (target if isinstance(target, list) else [target]))
    return golds, tuple(range(len(golds)))


def _rule_of(task: Any, name: str) -> Mapping[str, Any]:
    """What the harness's object says of a metric that its YAML does not list."""
    aggregate, higher = task.aggregation().get(name), task.higher_is_better().get(name)
    return {"aggregation": "mean" if _is_mean(aggregate) else aggregate, "higher_is_better": higher}


def _is_mean(aggregate: Any) -> bool:
    return aggregate is None or aggregate is load("lm_eval.api.metrics").mean


def _own_or_known(aggregate: Any) -> Callable[..., Any]:
    return aggregate if callable(aggregate) else find_aggregate(aggregate)


def _fingerprint(rows: Sequence[Any]) -> str:
    plain = [row if isinstance(row, Mapping) and all(isinstance(key, str) for key in row) else {"row": row} for row in rows]
    return rows_fingerprint(enumerate(plain))


def _notes(config: Config) -> Iterator[str]:
    arguments = config.get("generation_kwargs")
    if isinstance(arguments, Mapping) and config.get("output_type", "generate_until") == "generate_until":
        left_out = unheeded(arguments)
        if left_out:
            told = ", ".join(f"{name}={value}" for name, value in left_out.items())
            yield f"the task's generation_kwargs have {told}; the backend's generation_parameters hold in their place"


def _source_of(error: Exception) -> str:
    """Where an error of somebody else's code comes from, in a few words."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(error).__name__
    code = trace.tb_frame.f_code
    return f"{type(error).__name__} in {Path(code.co_filename).name}:{trace.tb_lineno}"
