"""The options about judges, checked: which models judge, how they are asked, when they are believed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import msgspec
import pytest

from pytest_lighteval import backends
from pytest_lighteval.backends.protocol import gpus_of_engine
from pytest_lighteval.errors import UserInputError, did_you_mean
from pytest_lighteval.graders.anchors import Anchors, read_anchors
from pytest_lighteval.graders.judge import JudgeSettings
from pytest_lighteval.graders.rubrics import Parity
from pytest_lighteval.plugin.options import has_own
from pytest_lighteval.plugin.replicas import Engines

ALONE = "judge"
"""The name of a judge that has none."""
_NAMED = re.compile(r"(?P<name>[A-Za-z0-9]+(?:[_.-][A-Za-z0-9]+)*):(?P<rest>.*)", re.DOTALL)
_DEFAULT_UNPARSED = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeChoice:
    """One judge of the options."""

    name: str
    backend: str
    arguments: msgspec.Struct
    price: tuple[float, float] | None
    """Of a million tokens of prompts, and of replies, in any currency. None: unknown."""

    def engines(self, replicas: Engines | None) -> Engines | None:
        """The session's engines, if this judge computes here too; a server is asked by one process. None: one engine."""
        return replicas if gpus_of_engine(self.arguments) != 0 else None

    @property
    def shown(self) -> str:
        """Its backend, with its name if it has one."""
        return self.backend if self.name == ALONE else f"{self.name} ({self.backend})"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOptions:
    """All options about judges."""

    judges: tuple[JudgeChoice, ...] = ()
    """Empty: a conftest brings them, or there are none."""
    parity: Parity | None = None
    max_unparsed: float = _DEFAULT_UNPARSED
    preflight: str = "refuse"
    anchors: Anchors | None = None
    max_calls: int | None = None
    """None: any number."""
    answers: Path | None = None
    """The folder of a run whose answers are judged, in place of a model's. None: a model answers."""
    opponent: Path | None = None
    """The folder of a run with whose answers those of this one are compared. None: there is none."""

    def of_grader(self) -> JudgeSettings:
        """What the judges' grader needs of it."""
        return JudgeSettings(
            parity=self.parity,
            max_unparsed=self.max_unparsed,
            preflight="warn" if self.preflight == "warn" else "refuse",
            anchors=self.anchors,
            opponent_name=None if self.opponent is None else self.opponent.name,
        )


def has_judge(config: pytest.Config, options: JudgeOptions) -> bool:
    """Whether there is a judge: of the options, or of a conftest."""
    return bool(options.judges) or has_own(config, "lighteval_judge")


def read_judge_options(values: Mapping[str, Any], folder: Path, arguments_of: Callable[[str, str | None], msgspec.Struct]) -> JudgeOptions:
    """What the options say. `arguments_of`: the checked arguments of a backend. Raises UserInputError."""
    chosen = _by_judge(values["judge_backend"] or (), "--judge-backend")
    written = _by_judge(values["judge_model_args"] or (), "--judge-model-args")
    prices = {name: _price(text) for name, text in _by_judge(values["judge_price"] or (), "--judge-price").items()}
    for option, given in (("--judge-model-args", written), ("--judge-price", prices)):
        for name in given:
            # one backend for all judges is said once
            if name not in chosen and not (option == "--judge-model-args" and chosen.keys() == {ALONE}):
                which = f"no judge is called {name!r}{did_you_mean(name, chosen)}" if chosen else "it is given without --judge-backend"
                raise UserInputError(f"{option}: {which}")
    if chosen.keys() == {ALONE} and written and ALONE not in written:
        chosen = dict.fromkeys(written, chosen[ALONE])
    judges = []
    for name, backend in chosen.items():
        backends.check_name(backend)
        judges.append(JudgeChoice(name=name, backend=backend, arguments=arguments_of(backend, written.get(name)), price=prices.get(name)))
    if values["judge_answers"] is not None and values["backend"] is not None:
        raise UserInputError("--judge-answers is given beside --backend: the answers are there already; leave one of them out")
    return JudgeOptions(
        judges=tuple(judges),
        parity=cast(Parity | None, _one_of(values["judge_parity"], get_args(Parity), "--judge-parity")),
        max_unparsed=_share(values["judge_max_unparsed"]),
        preflight=_one_of(values["judge_preflight"], ("refuse", "warn"), "--judge-preflight") or "refuse",
        anchors=None if values["judge_anchors"] is None else read_anchors(folder / values["judge_anchors"]),
        max_calls=_count(values["judge_max_calls"]),
        answers=_run(values["judge_answers"], folder, "--judge-answers"),
        opponent=_run(values["judge_opponent"], folder, "--judge-opponent"),
    )


def _by_judge(texts: Sequence[str], option: str) -> dict[str, str]:
    """`gpt:openai` and `qwen:vllm` by name; a text without a name is that of the only judge."""
    found: dict[str, str] = {}
    for text in texts:
        named = _NAMED.fullmatch(text.strip())
        name, rest = (named["name"], named["rest"]) if named else (ALONE, text.strip())
        if name in found:
            which = f"judge {name!r}" if named else "one judge"
            raise UserInputError(f"{option} is given twice for {which}; several judges have names: {option} NAME:...")
        found[name] = rest.strip()
    if ALONE in found and len(found) > 1:
        raise UserInputError(f"{option}: several judges have names: {option} NAME:{found[ALONE]}")
    return found


def _one_of(text: str | None, words: Sequence[str], option: str) -> str | None:
    if text is not None and text not in words:
        raise UserInputError(f"{option} {text}: there are {' and '.join(words)}{did_you_mean(text, words)}")
    return text


def _share(text: str | None) -> float:
    """`0.01`, or `1%`."""
    if text is None:
        return _DEFAULT_UNPARSED
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UserInputError(f"--judge-max-unparsed {text}: a share from 0 to 1 was expected, such as 0.01 or 1%")
    return share


def _count(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal():
        raise UserInputError(f"--judge-max-calls {text}: a number from 0 on was expected")
    return int(text)


def _price(text: str) -> tuple[float, float]:
    try:
        prompts, replies = (float(part) for part in text.split(","))
    except ValueError:
        raise UserInputError(f"--judge-price {text}: PROMPTS,REPLIES was expected, each for a million tokens, such as 0.15,0.6") from None
    if not (0 <= prompts < float("inf") and 0 <= replies < float("inf")):
        raise UserInputError(f"--judge-price {text}: a price is a number from 0 on")
    return prompts, replies


def _run(name: str | None, folder: Path, option: str) -> Path | None:
    if name is None:
        return None
    path = folder / Path(name).expanduser()
    path = path.parent if path.name == "results.json" else path
    if not (path / "details").is_dir():
        raise UserInputError(f"{option} {name}: is no run folder: it has no details")
    return path.resolve()
