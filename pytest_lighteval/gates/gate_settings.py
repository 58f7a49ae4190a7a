"""The options of the gate, checked and converted: what is compared, under which policy, and what becomes of the scores."""

from __future__ import annotations

import datetime
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_lighteval.baselines.align import MismatchKind
from pytest_lighteval.baselines.hub_file import SCHEME, hub_file
from pytest_lighteval.baselines.measured import MeasuredBaselines
from pytest_lighteval.baselines.read import Baselines
from pytest_lighteval.baselines.save import SaveTarget
from pytest_lighteval.common.losses import parse_loss, share_problem
from pytest_lighteval.comparison.decision import Policy
from pytest_lighteval.comparison.sequential import LOOKS
from pytest_lighteval.errors import MissingExtraError, UserInputError, did_you_mean
from pytest_lighteval.gates.canary import DOCUMENTS
from pytest_lighteval.gates.gate_file import GateFile, load_gates
from pytest_lighteval.gates.red_gates import RETRIED
from pytest_lighteval.gates.run_baselines import read_places
from pytest_lighteval.gates.waivers import WaiverFile, load_waivers

SKIPPED = "skipped"
"""`--gate-allow` of gated items that were skipped, or did not run for a reason that pytest does not report."""
MISSING = "missing"
"""`--gate-allow` of tasks of the baseline that a suite does not declare any more."""
BLIND = "blind"
"""`--gate-allow` of a session none of whose gates could find even a huge loss."""
UNGATED = "ungated"
"""`--gate-allow` of a session with a baseline in which nothing is compared with it."""

JUDGING = (
    "gates",
    "baseline",
    "baseline_pinned",
    "waivers",
    "against_backend",
    "against_model_args",
    "gate_max_drop",
    "gate_min_effect",
    "gate_alpha",
    "gate_inconclusive",
    "gate_allow",
)
"""Options that decide the verdicts of given scores."""
_FILES = ("gates", "baseline", "baseline_pinned", "waivers")

ALLOWANCES = (*(kind.value for kind in MismatchKind if kind is not MismatchKind.METRIC), SKIPPED, MISSING, UNGATED, BLIND, RETRIED)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """All options about gates and baselines."""

    file: GateFile | None
    """`--gates`."""
    baselines: Baselines | MeasuredBaselines | None
    """None: no score is compared with another."""
    baseline_names: tuple[str, ...]
    """As the user wrote them."""
    policy: Policy
    """What holds for a gate that does not say otherwise itself."""
    allowed: frozenset[str]
    """Names of `ALLOWANCES`: what the user tolerates."""
    waivers: WaiverFile | None
    today: datetime.date
    """In UTC, the same in the controller and in its workers."""
    save: SaveTarget | None
    """None: nothing is saved."""
    pinned: Baselines | None = None
    """`--baseline-pinned`, compared beside `baselines`. None: nothing is compared with it."""
    pinned_name: str | None = None
    """As the user wrote it."""
    repin: SaveTarget | None = None
    """`--baseline-repin`: the pinned baseline is replaced. None: it stays."""
    interim_checks: int | None = None
    """Sequential mode: how often a task is looked at, at most. None: every document is asked."""
    sequential_off: str | None = None
    """Why every document is asked although sequential mode was asked for. None: it is on, or nobody asked."""
    runs: int = 1
    """How often the model is run on the same documents."""
    plan_only: bool = False
    """The gates are reported, and nothing is evaluated."""
    is_deferred: bool = False
    """The scores are recorded and not judged: `python -m pytest_lighteval gate` does that for several runs together."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What decides the verdicts, as the user wrote it: the options of `JUDGING`."""
    files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    """Those of the options that name files -> the files."""
    canary: int | None = None
    """Only so many documents of each task are asked, and what they show is told; nothing is judged. None: every task is measured."""

    @property
    def written(self) -> tuple[SaveTarget, ...]:
        """The baselines that the session writes."""
        return tuple(target for target in (self.save, self.repin) if target is not None)

    def compared_files(self, folder: Path) -> tuple[dict[str, Any], ...]:
        """Facts for a report about the files that scores are compared with, seen from a folder."""
        compared = ((self.baselines, False), (self.pinned, True))
        return tuple(
            {**file, "is_pinned": is_pinned}
            for baselines, is_pinned in compared
            if isinstance(baselines, Baselines)
            for file in baselines.facts(folder)
        )

    @property
    def allowed_mismatches(self) -> tuple[MismatchKind, ...]:
        """The part of `allowed` that is about a baseline that does not fit."""
        return tuple(kind for kind in MismatchKind if kind.value in self.allowed)


def read_gate_settings(values: Mapping[str, Any], folder: Path, *, today: datetime.date) -> GateSettings:
    """The gate's options, paths relative to `folder`. Raises UserInputError for whatever is wrong, before anything is evaluated."""
    save = None
    if values["save_baseline"]:
        save = SaveTarget.parse(
            values["save_baseline"], folder=folder, reason=values["baseline_reason"], is_repeat=bool(values["baseline_merge"])
        )
        if save.path.exists():
            needs_scipy()  # a refresh is told from chance
    elif values["baseline_merge"]:
        raise UserInputError("--baseline-merge is given without --save-baseline")
    pinned, repin = _pinned(values, folder, save)
    if values["baseline_reason"] and save is None and repin is None:
        raise UserInputError("--baseline-reason is given without --save-baseline or --baseline-repin")
    recovers = values["against_backend"] is not None or values["against_model_args"] is not None
    if recovers and values["baseline"]:
        raise UserInputError("--baseline and --against-model-args: scores are compared with one or the other")
    baselines: Baselines | MeasuredBaselines | None = _baselines(values["baseline"], folder) if values["baseline"] else None
    names = tuple(values["baseline"] or ())
    if recovers:
        needs_scipy()
        baselines = MeasuredBaselines()
        names = (" ".join(values[name] for name in ("against_backend", "against_model_args") if values[name]),)
    runs = _runs(values["gate_calibrate"])
    if recovers and runs > 1:
        raise UserInputError("--gate-calibrate and --against-model-args: calibrate one model at a time")
    checks = _interim_checks(values["gate_sequential"])
    whole = "--gate-calibrate compares all of them" if runs > 1 else None
    if values["gate_defer"]:
        whole = "--gate-defer judges later"
        other = "gate-plan" if values["gate_plan"] else "baseline-repin" if repin is not None else None
        if other is not None:
            raise UserInputError(f"--gate-defer and --{other}: nothing is judged in this session")
    if save is not None or repin is not None:
        whole = f"--{'save-baseline' if save is not None else 'baseline-repin'} keeps all of them"
    return GateSettings(
        file=load_gates(folder / values["gates"]) if values["gates"] else None,
        baselines=baselines,
        baseline_names=names,
        policy=_policy(values),
        allowed=_allowed(values["gate_allow"] or ()),
        waivers=load_waivers(folder / values["waivers"], today=today) if values["waivers"] else None,
        today=today,
        save=save,
        pinned=pinned,
        pinned_name=values["baseline_pinned"],
        repin=repin,
        interim_checks=checks if whole is None else None,
        sequential_off=whole if checks is not None else None,
        runs=runs,
        plan_only=bool(values["gate_plan"]),
        is_deferred=bool(values["gate_defer"]),
        options={name: values[name] for name in JUDGING if values[name]},
        files={name: _named_files(values[name], folder) for name in _FILES if values[name]},
        canary=_canary(values),
    )


def _named_files(names: str | Sequence[str], folder: Path) -> tuple[Path, ...]:
    return tuple(_place(name, folder) for name in ([names] if isinstance(names, str) else names))


def _place(name: str, folder: Path) -> Path:
    """The path of a file that an option names; one on the hub is fetched."""
    return hub_file(name) if name.startswith(SCHEME) else folder / name


def _pinned(values: Mapping[str, Any], folder: Path, save: SaveTarget | None) -> tuple[Baselines | None, SaveTarget | None]:
    """The pinned baseline, and where it is written. None: there is none, and nothing is written."""
    name, repins = values["baseline_pinned"], bool(values["baseline_repin"])
    if name is None:
        if repins:
            raise UserInputError("--baseline-repin is given without --baseline-pinned, which names the file")
        return None, None
    if repins and name.startswith(SCHEME):
        raise UserInputError(f"--baseline-repin: {name} is on the hub, where nothing is replaced; name a file here")
    path = (folder / name).resolve()
    if not repins and not values["baseline"]:
        raise UserInputError("--baseline-pinned is given without --baseline: it is compared beside the newest baseline")
    for other in values["baseline"] or ():
        if (folder / other).resolve() == path:
            raise UserInputError(f"--baseline-pinned {name}: is --baseline too; copy the file under another name to pin it")
    if save is not None and (save.path.resolve() == path or (save.is_folder and path.is_relative_to(save.path.resolve()))):
        raise UserInputError(f"--save-baseline {values['save_baseline']}: would refresh the pinned baseline; --baseline-repin does that")
    if not repins:
        return _baselines([name], folder), None
    if not (values["baseline_reason"] or "").strip():
        raise UserInputError('--baseline-repin needs a reason, which the file keeps: --baseline-reason "..."')
    repin = SaveTarget.parse(name, folder=folder, reason=values["baseline_reason"], is_pinned=True)
    return _baselines([name], folder) if values["baseline"] and path.exists() else None, repin


def _baselines(names: Sequence[str], folder: Path) -> Baselines:
    needs_scipy()
    baselines = read_places([_place(name, folder) for name in names])
    for key in baselines.keys:
        baselines.find(key)  # a task that two files of a folder hold is an error before anything is evaluated
    return baselines


def needs_scipy() -> None:
    """Raise MissingExtraError where the gate's tests cannot be computed."""
    if importlib.util.find_spec("scipy") is None:
        raise MissingExtraError("scipy, which computes the gate's tests,", "gate")


def _interim_checks(text: str | None) -> int | None:
    if text is None or text == "off":
        return None
    if text == "on":
        return LOOKS
    if not text.isdecimal() or int(text) < 2:
        raise UserInputError(
            f"--gate-sequential {text}: a number of interim checks from 2 on, or off, was expected; write --gate-sequential={LOOKS}"
        )
    return int(text)


def _runs(text: str | None) -> int:
    if text is None:
        return 1
    if not text.isdecimal() or int(text) < 2:
        raise UserInputError(f"--gate-calibrate {text}: a number of runs from 2 on was expected")
    return int(text)


def _canary(values: Mapping[str, Any]) -> int | None:
    text = values["gate_canary"]
    if text is None:
        return None
    count = str(DOCUMENTS) if text == "on" else text
    if not count.isdecimal() or int(count) < 1:
        raise UserInputError(f"--gate-canary {text}: a number of documents was expected; write --gate-canary={DOCUMENTS}")
    if not values["baseline"]:
        raise UserInputError("--gate-canary is given without --baseline, whose soft scores say which documents to ask")
    for name in ("save_baseline", "gate_calibrate", "gate_plan", "gate_defer"):
        if values[name]:
            raise UserInputError(f"--gate-canary and --{name.replace('_', '-')}: a canary measures no task; give one or the other")
    return int(count)


def _policy(values: Mapping[str, Any]) -> Policy:
    default = Policy()
    try:
        return Policy(
            alpha=_number(values, "gate_alpha", default.alpha),
            max_drop=_share(values, "gate_max_drop", default.max_drop),
            min_effect=_share(values, "gate_min_effect", default.min_effect),
            inconclusive=values["gate_inconclusive"] or default.inconclusive,
        )
    except UserInputError as error:
        field, _, problem = str(error).partition(": ")
        raise UserInputError(f"--gate-{field.replace('_', '-')}: {problem}") from None


def _number(values: Mapping[str, Any], name: str, default: Any) -> Any:
    text = values[name]
    if text is None:
        return default
    try:
        return float(text)
    except ValueError:
        raise UserInputError(f"{name.removeprefix('gate_')}: {text!r} is no number, like 0.02") from None


def _share(values: Mapping[str, Any], name: str, default: float | None) -> Any:
    """A loss as a share, of 1 or of the baseline's value: below 1."""
    if values[name] is None:
        return default
    try:
        loss = float(parse_loss(values[name]))
        problem = share_problem(loss)
    except ValueError as error:
        problem = str(error)
    if problem is not None:
        raise UserInputError(f"{name.removeprefix('gate_')}: {problem}")
    return loss


def _allowed(texts: Sequence[str]) -> frozenset[str]:
    names = [name.strip() for text in texts for name in text.split(",")]
    for name in names:
        if name not in ALLOWANCES:
            raise UserInputError(f"--gate-allow {name}: there are {', '.join(ALLOWANCES)}{did_you_mean(name, ALLOWANCES)}")
    return frozenset(names)
