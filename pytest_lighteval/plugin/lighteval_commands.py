"""Lighteval's own command lines and model arguments, told in this plugin's form."""

from __future__ import annotations

import re
import shlex
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from pytest_lighteval.errors import UserInputError
from pytest_lighteval.tasks.catalogue import Catalogue
from pytest_lighteval.tasks.nearest import near_specs
from pytest_lighteval.tasks.task_spec import SpecError, parse_specs

_SERVED = "start the server, then --backend openai --model-args 'base_url=http://HOST:PORT/v1,model=NAME' (docs/backends/openai.md)"
_PUBLISH = "after the run, write python -m pytest_lighteval publish RUN --to"

COMMANDS = {
    "accelerate": "--backend accelerate",
    "vllm": "--backend vllm",
    "nanotron": "--backend nanotron",
    "sglang": _SERVED,
    "endpoint": _SERVED,
    "custom": "a fixture lighteval_backend in conftest.py returns your engine (docs/backends.md#your-own-engine)",
    "baseline": "the scores of guessing are not computed",
    "eval": "--backend openai, or the backend of your model",
    "tasks": "pytest suites/ --collect-only -q lists all tasks",
}
"""First word of a command -> what it is here."""

OPTIONS = {
    "output-dir": "write --report-dir",
    "results-path-template": "write --report-dir; each run has a folder of its own below it",
    "save-details": "details are always written: leave it out",
    "push-to-hub": f"{_PUBLISH} hub:ORG (docs/publish.md)",
    "push-to-tensorboard": f"{_PUBLISH} tensorboard:DIR",
    "public-run": f"{_PUBLISH} hub:ORG --public",
    "results-org": f"{_PUBLISH} hub:ORG",
    "wandb": f"{_PUBLISH} wandb:PROJECT",
    "job-id": "each run has a folder of its own: leave it out",
    "dataset-loading-processes": "data sets are prepared once and kept (docs/cache.md): leave it out",
    "load-responses-from-details-date-id": "answers are kept and found again (docs/cache.md): leave it out and run the same command",
    "cot-prompt": "put the text into the prompt of a suite of your own (docs/suites.md)",
    "free-endpoint": _SERVED,
    "vision-model": "models that read pictures are not evaluated",
    "remove-reasoning-tags": "write --strip-reasoning",
    "no-remove-reasoning-tags": "reasoning is only removed with --strip-reasoning: leave it out",
    "load-tasks-multilingual": "multilingual tasks are found by their names (docs/languages.md): leave it out",
    "num-samples": "write --max-samples",
    "show-config": "docs/tasks.md lists the tasks with their data sets and metrics, suites/ has their files: leave it out",
    "epochs": "write --num-fewshot-seeds, or a metric that samples several texts",
}
"""An option of Lighteval's commands that is not one here, without its dashes -> what to write."""

MODEL_ARGUMENTS = ("checkpoint-config-path", "lighteval-config-path")
"""Options of its nanotron command that are model arguments here."""

MODEL_ARGUMENTS_ELSEWHERE = {
    "system_prompt": "write --system-prompt",
    "override_chat_template": "write --use-chat-template where the model is to be asked in turns",
    "cache_dir": "write --cache-dir",
    "skip_special_tokens": "special tokens are never in a scored text: leave it out",
    "continuous_batching": "rows always enter and leave a running batch: leave it out",
    "model_loading_kwargs": "what may move a score is an argument of its own, such as attn_implementation: --model-args help lists them",
    "load_format": "vLLM finds the format: leave it out",
    "is_async": "requests are always sent together: leave it out",
}
"""A model argument of newer Lighteval that is none here -> what to write."""

_SPEC = re.compile(r"[^|=,\s]+\|[^|=,]+(\|\d+(\|[01])?)?\|?(,.*)?")


def option_here(name: str, value: str) -> str | None:
    """What to write for `--name` of Lighteval, with `value` behind it. None: it is none of Lighteval's."""
    bare = name.removeprefix("--").replace("_", "-")
    if bare in MODEL_ARGUMENTS:
        return f"{name}: it is a model argument: write --backend nanotron --model-args {bare.replace('-', '_')}={value or 'PATH'}"
    return f"{name}: {OPTIONS[bare]}" if bare in OPTIONS else None


def model_argument_here(names: Iterable[str], known: Container[str]) -> str | None:
    """What to write for the first of these model arguments that is Lighteval's and not one of the backend's. None: there is none."""
    wrong = next((name for name in names if name in MODEL_ARGUMENTS_ELSEWHERE and name not in known), None)
    return None if wrong is None else f"--model-args: {wrong}: {MODEL_ARGUMENTS_ELSEWHERE[wrong]}"


def command_here(words: Sequence[str], folder: Path) -> str | None:
    """The command line to write for one of Lighteval's, such as `accelerate pretrained=gpt2 'leaderboard|gsm8k|5|0'`.

    None: it is none. `words`: the arguments that belong to no option. An existing path is pytest's. The word `lighteval` itself may
    stand before them.
    """
    if len(words) > 1 and words[0] == "lighteval" and words[1] in COMMANDS and not (folder / words[0]).exists():
        words = words[1:]
    if not words or any((folder / word.partition("::")[0]).exists() for word in words[:1]):
        return None
    command = words[0] if words[0] in COMMANDS else None
    models = [word for word in words if re.match(r"\w+=", word) or (word.endswith((".yaml", ".yml")) and command is not None)]
    specs = [word for word in words if _SPEC.fullmatch(word) or (word.endswith(".txt") and command is not None)]
    if command is None and not (models and specs):
        return None
    if command == "tasks" and "inspect" in words and specs:
        option, choices = _tasks_option(specs[0], folder)
        return f"lighteval tasks inspect: write pytest --backend fake {option} --max-samples 10: the details have the prompts{choices}"
    if command == "tasks" and "create" in words:
        return "lighteval tasks create: write a suite file of your own (docs/suites.md)"
    if command is not None and not COMMANDS[command].startswith("--backend "):
        return f"lighteval {command}: {COMMANDS[command]}"
    backend = COMMANDS[command] if command is not None else "--backend NAME"
    option, choices = _tasks_option(specs[0], folder) if specs else ("", "")
    parts = [backend, *(f"--model-args {shlex.quote(word)}" for word in models[:1]), *([option] if option else [])]
    return f"lighteval {' '.join(words[:1])}: write pytest {' '.join(parts)}{choices}"


def _tasks_option(text: str, folder: Path) -> tuple[str, str]:
    """`--tasks ...` for Lighteval's argument of tasks, and at the end of the line what its user still has to choose.

    A spec of newer Lighteval, `gsm8k|5`, has no suite. It gets the only suite with this task; if there are several, it stays as it is.
    """
    if text.endswith(".txt"):
        return f"--tasks {shlex.quote(text)}", ""
    specs, choices = [], ""
    for part in text.split(","):
        near = _near(part, folder)
        specs.append(near[0] if len(near) == 1 else part)
        if len(near) > 1:
            choices += f"; for {part} choose {' or '.join(near)}"
    return f"--tasks {shlex.quote(','.join(specs))}", choices


def _near(spec: str, folder: Path) -> list[str]:
    """The specs that one without suite or count may mean. Empty: it is whole, or names no shipped task."""
    try:
        parse_specs(spec, folder=folder)
    except SpecError:
        return near_specs(spec, Catalogue())
    except UserInputError:
        pass
    return []
