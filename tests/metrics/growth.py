"""Texts that repeat one thing for ever, as a model that loops writes them, and what each metric makes of them.

`python -m tests.metrics.growth` judges each in a process of its own with a limit of CPU time, and prints what each one took.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from pytest_lighteval.errors import NotJudgedError
from pytest_lighteval.metrics import metric
from pytest_lighteval.metrics.instructions import INSTRUCTIONS
from pytest_lighteval.metrics.letters import find_letter
from pytest_lighteval.metrics.libraries import load, split_words_of
from pytest_lighteval.prompts.reasoning import strip_reasoning
from pytest_lighteval.types import Doc, GenerateResponse

CPU_SECONDS = 20
"""Quadratic time takes over a minute for the texts below, linear time less than two seconds."""

LONG, LONGER = 100_000, 300_000


def _follows(instruction: str, text: str, **arguments: Any) -> Callable[[], object]:
    return lambda: INSTRUCTIONS[instruction](text, arguments)


def _scored(name: str, text: str, gold: str = "42") -> Callable[[], object]:
    entry = metric(name)
    doc = Doc(
        id="t:0",
        query="",
        choices=(gold,),
        gold=(0,),
        specific={"golds_no_preprocessing": [["42"]], "spans": [["42", "a"]], "text": "the cat sat " * 3000},
    )
    return lambda: entry.sample(doc, GenerateResponse(texts=(text,) * entry.num_samples, finish_reasons=("stop",) * entry.num_samples))


def _repeated(piece: str, length: int = LONGER) -> str:
    return piece * (length // len(piece))


_NUMBERS = " ".join(str(number * 7919 % 99991) for number in range(LONG // 6))
_OTHERS = " ".join(str(number * 104729 % 99991) for number in range(LONG // 6))
_FEW: dict[str, Any] = {"relation": "less than", "num_sentences": 3}

_LETTER_PIECES = (
    "answer ",
    "answer is the ",
    "answer: ",
    "the  ",
    "(",
    "\n",
    " ",
    "A ",
    "\\boxed{",
    "therefore the correct ",
    "A is ",
    "=",
)
_NUMBER_PIECES = ("answer ", "#### ", "1,", "1 000 ", "1/", "=", "-", "$", "\n", "1.", "Question", "1")

CASES: dict[str, Callable[[], object]] = {
    "postscript, spaces": _follows("detectable_content:postscript", f"x{_repeated(' ')}x", postscript_marker="P.P.S"),
    "another postscript, spaces": _follows("detectable_content:postscript", f"x{_repeated(' ')}x", postscript_marker="NB"),
    "bullets, empty lines": _follows("detectable_format:number_bullet_lists", f"x{_repeated(chr(10))}x", num_bullets=3),
    "bullets, spaces": _follows("detectable_format:number_bullet_lists", f"{_repeated(' ')}x", num_bullets=3),
    "title, <": _follows("detectable_format:title", _repeated("<")),
    "title, <<x": _follows("detectable_format:title", _repeated("<<x")),
    "placeholders, [": _follows("detectable_content:number_placeholders", _repeated("["), num_placeholders=1),
    "highlights, *": _follows("detectable_format:number_highlighted_sections", _repeated("*"), num_highlights=3),
    "sections, numbers": _follows(
        "detectable_format:multiple_sections", "Section " + _repeated("1"), section_spliter="Section", num_sections=3
    ),
    "sections, spaces": _follows("detectable_format:multiple_sections", _repeated(" "), section_spliter="Section", num_sections=3),
    "paragraphs, stars": _follows("length_constraints:number_paragraphs", _repeated("*"), num_paragraphs=2),
    "keyword, a": _follows("keywords:existence", _repeated("a"), keywords=["aaab"]),
    "JSON, [": _follows("detectable_format:json_format", _repeated("[")),
    "sentences, words": _follows("length_constraints:number_sentences", _repeated("word. ", LONG), **_FEW),
    "sentences, dots": _follows("length_constraints:number_sentences", _repeated(".", LONG), **_FEW),
    "language, a@": _follows("language:response_language", _repeated("a@", LONG), language="en"),
    "thoughts, opened": lambda: strip_reasoning(_repeated("<think>"), (("<think>", "</think>"),)),
    "thoughts, closed": lambda: strip_reasoning(_repeated("</think>"), (("<think>", "</think>"),)),
    "letters, answer": lambda: find_letter(_repeated("answer ", LONG), 4),
    "letters, final answer is": lambda: find_letter(_repeated("final answer is", LONG), 4),
    "gsm8k": _scored("quasi_exact_match_gsm8k", _repeated("#### 1")),
    "math, boxed": _scored("quasi_exact_match_math", "\\boxed{" + _repeated("\\frac12") + "}"),
    "digits": _scored("quasi_exact_match", _repeated("1")),
    "rouge1": _scored("rouge1", _NUMBERS, _OTHERS),
    "rougeL": _scored("rougeL", _NUMBERS, _OTHERS),
    "rougeL, one word": _scored("rougeL", _repeated("the "), _OTHERS),
    "rougeLsum, one line": _scored("rougeLsum", _NUMBERS, _OTHERS),
    "rougeLsum, lines": _scored("rougeLsum", _repeated("the cat\n"), _OTHERS.replace(" ", "\n")),
    "rougeLsum, other lines": _scored("rougeLsum", _NUMBERS.replace(" ", "\n"), _OTHERS.replace(" ", "\n")),
    "bleu": _scored("bleu", _repeated("[", LONG), _OTHERS),
    "chrf": _scored("chrf", _repeated("abc d", LONG), _OTHERS),
    "ter": _scored("ter", _NUMBERS, _OTHERS),
    "copyright": _scored("copyright", _NUMBERS, _OTHERS),
    "copyright, one word": _scored("copyright", _repeated("the ", LONG), _repeated("the cat ", LONG)),
    "extractiveness": _scored("extractiveness", _repeated("the cat ", LONG)),
    "words of spaCy, (": lambda: split_words_of(_repeated("("), "en"),
    "words of spaCy, letters": lambda: split_words_of(_repeated("a", LONG), "en"),
    "drop": _scored("drop", _repeated("the ", LONG)),
    **{f"letters, {piece!r}": _scored("gpqa_instruct_metric_corrected", _repeated(piece), "A") for piece in _LETTER_PIECES},
    **{f"numbers, {piece!r}": _scored("quasi_exact_match_gsm8k_corrected", _repeated(piece)) for piece in _NUMBER_PIECES},
    **{f"boxes, {piece!r}": _scored("quasi_exact_match_math_corrected", _repeated(piece)) for piece in ("\\boxed{", "\\boxed 1", "{", "}")},
    **{f"baccalaureate, {piece!r}": _scored("exact_match_bac_fr_corrected", _repeated(piece)) for piece in ("réponse : ", "1,", "\n")},
    **{f"spans, {piece!r}": _scored("drop_corrected", _repeated(piece, LONG)) for piece in ("a, ", " and ", "answer is ", "42 ", "-", " ")},
    **{f"aliases, {piece!r}": _scored("quasi_exact_match_triviaqa_corrected", _repeated(piece)) for piece in ("A. ", "answer: ", ".", " ")},
    **{f"words, {piece!r}": _scored("quasi_exact_match_corrected", _repeated(piece)) for piece in ("1", "1,", "-", "a-", ".", "\n")},
    "votes": _scored("maj_at_8_gsm8k_corrected", _repeated("#### 1 ")),
    "rougeL, characters": _scored("rougeL_corrected", _repeated("天气", LONG), _OTHERS[:9000]),
}


def main() -> int:
    """Prints a line of JSON for each case. Returns how many took longer than allowed."""
    for module in ("nltk.tokenize", "punkt", "langdetect", "rouge_score.rouge_scorer", "sacrebleu.metrics"):
        load(module)  # here, and not again in each process
    split_words_of("a", "en")
    over = 0
    for name, run in CASES.items():
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
            started = time.process_time()
            try:
                run()
                end = "judged"
            except NotJudgedError as error:
                end = str(error)
            except BaseException as error:
                end = f"{type(error).__name__}: {error}"
            os.write(writing, json.dumps({"case": name, "end": end, "seconds": round(time.process_time() - started, 2)}).encode())
            os._exit(0)
        os.close(writing)
        line = os.read(reading, 1000).decode()
        os.close(reading)
        os.waitpid(child, 0)
        over += not line
        sys.stdout.write((line or json.dumps({"case": name, "end": f"over {CPU_SECONDS} s"})) + "\n")
        sys.stdout.flush()
    return over


if __name__ == "__main__":
    sys.exit(main())
