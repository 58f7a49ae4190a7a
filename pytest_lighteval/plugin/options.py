"""The plugin's options: on the command line under `--lighteval-...`, short where the short form is free, and in the ini file.

Every pytest run on a machine that has the plugin imports this module, so it imports only pytest, and names that cost nothing.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

import pytest

from pytest_lighteval.tasks import SUITE_SUFFIXES

_COMMANDS = frozenset(("accelerate", "vllm", "nanotron", "sglang", "endpoint", "custom", "baseline", "eval", "tasks"))
"""Words with which a command line of Lighteval may begin."""


class Option(NamedTuple):
    """One option; `name` is `max-samples` for `--lighteval-max-samples`, `--max-samples` and the ini's `lighteval_max_samples`."""

    name: str
    help: str
    kind: Literal["text", "flag", "many", "specs", "maybe"] = "text"
    metavar: str | None = None

    @property
    def dest(self) -> str:
        return "lighteval_" + self.name.replace("-", "_")

    @property
    def keywords(self) -> dict[str, Any]:
        """What argparse needs. The default is None throughout: only then can the ini file have its say."""
        if self.kind == "flag":
            return {"action": "store_const", "const": True, "default": None, "dest": self.dest, "help": self.help}
        if self.kind == "maybe":
            return {
                "action": "store",
                "nargs": "?",
                "const": "on",
                "default": None,
                "dest": self.dest,
                "metavar": self.metavar,
                "help": self.help,
            }
        action = "append" if self.kind in ("many", "specs") else "store"
        return {"action": action, "default": None, "dest": self.dest, "help": self.help, "metavar": self.metavar}


OPTIONS = (
    Option(
        name="backend", metavar="NAME", help="what runs the model: accelerate, vllm, openai, nanotron, fake, or another installed backend"
    ),
    Option(name="model-args", metavar="ARGS", help="key=value pairs joined by commas, or a YAML file; 'help' lists the backend's"),
    Option(
        name="tasks", kind="specs", metavar="SPECS", help="suite|task|few_shots|truncate, comma-separated, or a file of them (./tasks.txt)"
    ),
    Option(
        name="custom-tasks",
        kind="many",
        metavar="PATH",
        help="a folder of suites or lm-eval tasks of your own, or a Python module of tasks for Lighteval (it is run); may be repeated",
    ),
    Option(name="few-shots", metavar="N[,N...]", help="few-shot counts for every task, instead of those in the suite files"),
    Option(name="max-samples", metavar="N", help="ask only the first N documents of each task, after the seeded shuffle"),
    Option(
        name="num-fewshot-seeds",
        metavar="N",
        help="ask every document with N different choices of few-shot examples and average (default 1)",
    ),
    Option(name="use-chat-template", kind="flag", help="ask in turns, rendered with the model's chat template"),
    Option(name="system-prompt", metavar="TEXT", help="text before every prompt (the system turn of a chat)"),
    Option(name="strip-reasoning", kind="flag", help="remove <think>...</think> from answers before they are scored"),
    Option(name="reasoning-tags", metavar="TAGS", help="other tags for --strip-reasoning: '<think>:</think>,[THINK]:[/THINK]'"),
    Option(name="override-batch-size", metavar="N", help="the model argument batch_size"),
    Option(name="data-home", metavar="DIR", help="a folder <owner>/<name>/... used instead of the hub (also LIGHTEVAL_DATA_HOME)"),
    Option(
        name="toxicity-classifier",
        metavar="ARGS",
        help="model=FOLDER_OR_ID,label=NAME,device=cpu: a text classifier for helm|bold and helm|real_toxicity_prompts (docs/suites.md)",
    ),
    Option(name="tiny-parameters", metavar="FILE", help="tinyBenchmarks.pkl, for the estimates of extended|tiny:* (docs/suites.md)"),
    Option(name="run-model-code", kind="flag", help="run programs that the model writes, for the tasks that need it (docs/graders.md)"),
    Option(
        name="sandbox",
        metavar="KIND",
        help="where they run: auto (the strongest that holds here), bubblewrap, userns, landlock, podman, docker, none",
    ),
    Option(name="sandbox-image", metavar="IMAGE", help="the image for --sandbox podman and docker (default: python's own)"),
    Option(name="report-dir", metavar="DIR", help="where run folders are written (default: reports)"),
    Option(
        name="checkpoints",
        kind="many",
        metavar="GLOB|PATH|REPO@REV[,...]",
        help="measure every task at each of these checkpoints of a training, in their order; one engine at a time",
    ),
    Option(name="watch", kind="flag", help="go on with the checkpoints of --checkpoints that are completed later"),
    Option(name="every", metavar="TIME", help="how often --watch looks for a further checkpoint (default 60s)"),
    Option(name="until", metavar="STEP", help="--watch ends after a checkpoint of this step or a later one"),
    Option(name="no-html", kind="flag", help="write no report.html into the run's folder"),
    Option(name="no-cache", kind="flag", help="compute every answer and read every data set; keep nothing"),
    Option(name="cache-dir", metavar="DIR", help="where answers and prepared data sets are kept (default: the user's cache folder)"),
    Option(name="cache-size", metavar="SIZE", help="most that the answers may take, e.g. 500MB (default 5GB); the data sets as much again"),
    Option(
        name="shard",
        metavar="K/N|slurm",
        help="ask the K-th of N parts of every task, and judge nothing; python -m pytest_lighteval merge joins all parts",
    ),
    Option(name="threads", metavar="N|share", help="CPU threads of a process; share: the cores divided among the workers or replicas"),
    Option(
        name="replicas", metavar="N|auto", help="answer each task with N engines on this machine; auto: as many as the visible GPUs hold"
    ),
    Option(
        name="pool", metavar="ray", help="ray: the engines of --replicas are actors in a Ray cluster (default: processes on this machine)"
    ),
    Option(
        name="ray-address",
        metavar="ADDRESS",
        help="the cluster of --pool ray: auto (the one of this machine), local (a new one), HOST:PORT",
    ),
    Option(
        name="ray-args",
        metavar="ARGS",
        help="what each engine gets of the cluster, written as --model-args: num_gpus, resources, ... (docs/scale.md)",
    ),
    Option(name="gates", metavar="FILE", help="a YAML file of floors and gate policies by task, beside those in the suite files"),
    Option(
        name="baseline",
        kind="many",
        metavar="PATH",
        help="compare scores with this baseline, document by document: a file, a folder, a run, or hf://owner/repo/path@commit",
    ),
    Option(name="save-baseline", metavar="PATH", help="write the scores as a baseline: a file, or a folder/ with one a task"),
    Option(name="baseline-reason", metavar="TEXT", help="why --save-baseline may change what the file demands; kept in it"),
    Option(name="baseline-merge", kind="flag", help="let --save-baseline add this run as a further repeat of the same model"),
    Option(
        name="baseline-pinned",
        metavar="PATH",
        help="a second baseline, beside --baseline, that no refresh moves: red when a loss of --gate-max-drop since then is certain",
    ),
    Option(name="baseline-repin", kind="flag", help="replace the pinned baseline by this run; needs --baseline-reason"),
    Option(name="gate-max-drop", metavar="LOSS", help="the loss that a gate allows: 0.02 or 2pt is two points (the default)"),
    Option(name="gate-min-effect", metavar="LOSS", help="a smaller loss is never red (default: half of --gate-max-drop)"),
    Option(name="gate-alpha", metavar="ALPHA", help="the share of sessions that may be red although nothing changed (default 0.05)"),
    Option(name="gate-inconclusive", metavar="fail|blind|warn", help="which gates with too few documents to decide fail (default warn)"),
    Option(
        name="gate-allow",
        kind="many",
        metavar="KIND[,KIND...]",
        help="mismatches with a baseline that are not errors: see docs/baselines.md",
    ),
    Option(
        name="gate-sequential",
        kind="maybe",
        metavar="N|off",
        help="stop a task once its gate is decided; N = interim checks (default 5, write --gate-sequential=5); off: ask all documents",
    ),
    Option(
        name="against-backend",
        metavar="NAME",
        help="compare scores with those of this backend, measured first (default: that of --backend)",
    ),
    Option(
        name="against-model-args", metavar="ARGS", help="the model that scores are compared with, measured first; written as --model-args"
    ),
    Option(
        name="judge-backend",
        kind="many",
        metavar="[JUDGE:]NAME",
        help="what runs the model that judges answers; several judges have names: --judge-backend a:openai --judge-backend b:vllm",
    ),
    Option(
        name="judge-model-args",
        kind="many",
        metavar="[JUDGE:]ARGS",
        help="the judge's model, as --model-args; of a named judge JUDGE:ARGS",
    ),
    Option(name="judge-answers", metavar="RUN", help="judge the answers that a run folder holds; no model is asked"),
    Option(name="judge-opponent", metavar="RUN", help="the run folder whose answers pairwise judges compare with"),
    Option(name="judge-preflight", metavar="refuse|warn", help="what becomes of a judge that fails golden cases (default refuse)"),
    Option(name="judge-max-unparsed", metavar="SHARE", help="documents that may be without a verdict: 0.01 or 1%% (the default)"),
    Option(name="judge-anchors", metavar="FILE", help="people's verdicts, JSON lines: agreement, and scores that they correct"),
    Option(name="judge-max-calls", metavar="N", help="the most calls of judges in a session; replies in the cache cost none"),
    Option(name="judge-price", kind="many", metavar="[JUDGE:]IN,OUT", help="what a million tokens of prompts and of replies cost"),
    Option(
        name="judge-parity",
        metavar="lighteval|benchmark",
        help="ask and read judges as Lighteval v0.9.2 (a reply it cannot read is 0), or as the benchmark's own script",
    ),
    Option(name="gate-calibrate", metavar="K", help="run the model K times, and report how much its runs differ"),
    Option(name="gate-plan", kind="flag", help="report what each gate can detect and how many documents max_drop needs; evaluate nothing"),
    Option(
        name="gate-defer",
        kind="flag",
        help="record the scores without judging them: python -m pytest_lighteval gate RUN... judges several runs as one",
    ),
    Option(
        name="gate-canary",
        kind="maybe",
        metavar="N",
        help="ask N documents of each task (default 40, write --gate-canary=40) and say whether the model changed; no verdict",
    ),
    Option(name="waivers", metavar="FILE", help="a YAML file of known regressions, expected to fail until a date"),
    Option(name="check-tasks", kind="flag", help="check the benchmarks themselves, without a model: can a right answer score?"),
    Option(name="check-fail-on", metavar="SEVERITY", help="the least finding that fails a task: error (the default), warning or note"),
    Option(name="check-accept", metavar="FILE", help="a YAML file of findings of --check-tasks that are known, each with its reason"),
    Option(name="check-model", metavar="NAME", help="whose tokenizer and length --check-tasks uses: a folder or a hub id"),
)


def add_options(parser: pytest.Parser) -> None:
    """Register the prefixed options, which no other plugin can own, and all ini values."""
    title = "evaluation of language models (pytest-lighteval; each option also as --lighteval-NAME)"
    group = parser.getgroup("lighteval", title)
    ini_types: Mapping[str, Literal["string", "bool", "args", "linelist"]] = {
        "text": "string",
        "flag": "bool",
        "many": "args",
        "specs": "linelist",
        "maybe": "string",
    }
    for option in OPTIONS:
        group.addoption(f"--lighteval-{option.name}", **option.keywords)
        parser.addini(
            option.dest, f"the option --lighteval-{option.name}; the command line wins", type=ini_types[option.kind], default=None
        )
    parser.addini(
        "lighteval_suites",
        "folders whose YAML files are suites (default: suites, once a backend is chosen)",
        type="args",
        default=[],
    )


def add_short_options(parser: pytest.Parser, arguments: Sequence[str] = ()) -> None:
    """Register `--backend` and the other short forms, except those that another plugin or a conftest owns.

    To be called once all initial conftests are loaded: who registers a taken name first makes the second one's session die. `--help` then
    shows each option once: its short form, or the prefixed one where the short one is taken. `arguments`: the command line.
    """
    group = parser.getgroup("lighteval")
    prefixed = {name: registered for registered in group.options for name in registered.names()}
    for option in OPTIONS:
        if _is_free(parser, f"--{option.name}"):
            group.addoption(f"--{option.name}", **option.keywords)
            prefixed[f"--lighteval-{option.name}"].attrs()["help"] = argparse.SUPPRESS
    if not {"-h", "--help"}.isdisjoint(arguments):
        _name_backends(group)


def _name_backends(group: pytest.OptionGroup) -> None:
    """Let the help of `--backend` name those that are installed, other packages' too. Reading them would cost every session time."""
    from pytest_lighteval.backends import names

    for registered in group.options:
        attributes = registered.attrs()
        if registered.dest == "lighteval_backend" and attributes["help"] != argparse.SUPPRESS:
            attributes["help"] = f"what runs the model: {', '.join(names())}"


def _is_free(parser: pytest.Parser, option: str) -> bool:
    probe = f"{option}=1"
    try:
        _, unknown = parser.parse_known_and_unknown_args([probe])
    except pytest.UsageError:
        return False  # an owner that does not like this value is an owner
    return probe in unknown


def value_of(config: pytest.Config, option: Option) -> Any:
    """What the command line says, else the ini file. None: neither says anything."""
    given = config.getoption(option.dest)
    if given is None:
        given = config.getini(option.dest)
    return given if given not in ("", []) else None


_EVALUATES = pytest.StashKey[bool]()


def evaluates(config: pytest.Config) -> bool:
    """Whether this session evaluates models. Decided once, when the initial conftests are loaded; everybody asks here.

    It does if an option of this plugin is set (on the command line or in the ini file), if an argument names a suite, or if a conftest
    brings its own `lighteval_backend`. Every other session stays as it is without the plugin, until a test uses the `lighteval` fixture.
    """
    if _EVALUATES not in config.stash:
        config.stash[_EVALUATES] = is_asked_to_evaluate(config) or has_own_backend(config)
    return config.stash[_EVALUATES]


def is_asked_to_evaluate(config: pytest.Config) -> bool:
    """Whether an option or an argument asks for it; a conftest with a backend alone may be there for a few tests among many."""
    return any(value_of(config, option) is not None for option in OPTIONS) or _names_suites(config)


def has_own_backend(config: pytest.Config) -> bool:
    """Whether a conftest, or another plugin that is a module, defines the `lighteval_backend` fixture."""
    return has_own(config, "lighteval_backend")


def has_own(config: pytest.Config, fixture: str) -> bool:
    """Whether a conftest, or another plugin that is a module, defines a fixture of this plugin's."""
    modules = (plugin for plugin in config.pluginmanager.get_plugins() if isinstance(plugin, ModuleType))
    return any(hasattr(module, fixture) for module in modules if module.__name__ != __package__)


def _names_suites(config: pytest.Config) -> bool:
    """Whether an argument is a suite file, touches a folder of `lighteval_suites`, or is `suites/...` where there is no such path."""
    roots = [config.rootpath / root for root in config.getini("lighteval_suites")]
    for argument in config.args:
        name = str(argument).partition("::")[0]
        path = Path(os.path.abspath(config.invocation_params.dir / name))
        if not path.exists():
            if f"{name}/".startswith("suites/"):  # a shipped one
                return True
        elif (path.suffix in SUITE_SUFFIXES and looks_like_suite(path)) or any(
            path.is_relative_to(root) or root.is_relative_to(path) for root in roots
        ):
            return True
    return False


def looks_like_suite(path: Path) -> bool:
    """Whether a YAML file has tasks with fields of a suite; below a folder that a user names, other tools have YAML files of their own."""
    try:
        text = path.read_text("utf-8")
        return all(re.search(pattern, text, re.MULTILINE) for pattern in (r"^tasks\s*:", r"\b(metrics|prompt|hf_repo|data_files)\s*:"))
    except UnicodeDecodeError:
        return True  # reading it says what is wrong
    except OSError:
        return False


def wrong_spelling(parser: pytest.Parser, arguments: Sequence[str], folder: Path) -> str | None:
    """What to write in place of a command line of Lighteval, or of an option that it has and this one spells otherwise.

    None: nothing is wrong. `folder`: where pytest was started.
    """
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue="-"):
        name, _, value = argument.partition("=")
        if not name.startswith("--") or not _is_free(parser, name):
            continue
        ours = name.replace("_", "-")
        if ours != name and any(ours in (f"--{option.name}", f"--lighteval-{option.name}") for option in OPTIONS):
            return f"{name}: write {ours}"
        from pytest_lighteval.plugin.lighteval_commands import option_here

        if problem := option_here(name, value or ("" if following.startswith("-") else following)):
            return problem
    if any("|" in argument or argument in _COMMANDS for argument in arguments):
        from pytest_lighteval.plugin.lighteval_commands import command_here

        return command_here(parser.parse_known_args(list(arguments)).file_or_dir, folder)
    return None
