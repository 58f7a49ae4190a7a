"""The tasks that this project and lm-evaluation-harness both define, and what is known of where their definitions part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_lighteval.metrics import metric
from pytest_lighteval.types import Doc, LoglikelihoodResponse, SampleValue

MAX_LENGTH = 1024
"""Of the model on both sides: short enough that pages are measured in several windows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A metric that the two define differently."""

    reason: str
    theirs: Callable[[Doc, LoglikelihoodResponse], SampleValue | None]
    """Their value of a document, computed by their definition from our log-likelihoods: the proof of the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One task of ours, and theirs."""

    ours: str
    """`suite|task`."""
    theirs: str
    """The harness's name."""
    file: str
    """Below its folder of tasks."""
    metrics: Mapping[str, str]
    """Our reported name -> theirs."""
    few_shots: int = 0
    n: int = 40
    """Documents, spread evenly over the split."""
    shortest_of: str | None = None
    """Take the documents that are shortest in this column in place of that."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """Fields of our task to replace, where the data at hand are another split or subset."""
    explained: Mapping[str, Explained] = field(default_factory=dict)
    """By our reported name."""
    other_texts: str | None = None
    """Why the harness, as shipped, asks some texts that we do not."""
    changed: Mapping[str, str] = field(default_factory=dict)
    """Settings of the harness's task under which it asks the same: the proof of that reason."""

    @property
    def name(self) -> str:
        """Their name, and what was changed."""
        return f"{self.theirs} with another {' and '.join(self.changed)}" if self.changed else self.theirs

    @property
    def file_name(self) -> str:
        """The same for files and for the harness itself."""
        return "_".join(("check", self.theirs, *self.changed))


def _accuracy_without_space(doc: Doc, response: LoglikelihoodResponse) -> SampleValue | None:
    return metric("loglikelihood_acc_norm_nospace").sample(doc, response)["acc_norm"]


_ACCURACIES = {"acc": "acc", "acc_norm": "acc_norm"}
_PERPLEXITIES = {name: name for name in ("word_perplexity", "byte_perplexity", "bits_per_byte")}

PAIRS = (
    Pair(
        ours="lighteval|arc:easy",
        theirs="arc_easy",
        file="arc/arc_easy.yaml",
        metrics=_ACCURACIES,
    ),
    Pair(
        ours="leaderboard|arc:challenge",
        theirs="arc_challenge",
        file="arc/arc_challenge.yaml",
        metrics=_ACCURACIES,
        explained={
            "acc_norm": Explained(
                reason="the leaderboard counts the space before a choice in its length, and the harness does not",
                theirs=_accuracy_without_space,
            )
        },
    ),
    Pair(
        ours="lighteval|arithmetic:2da",
        theirs="arithmetic_2da",
        file="arithmetic/arithmetic_2da.yaml",
        metrics={"acc": "acc"},
    ),
    Pair(
        ours="lighteval|blimp:anaphor_gender_agreement",
        theirs="blimp_anaphor_gender_agreement",
        file="blimp/anaphor_gender_agreement.yaml",
        metrics={"acc": "acc"},
        other_texts="it puts a space between the context, which is empty, and the sentence",
    ),
    Pair(
        ours="lighteval|blimp:anaphor_gender_agreement",
        theirs="blimp_anaphor_gender_agreement",
        file="blimp/anaphor_gender_agreement.yaml",
        metrics={"acc": "acc"},
        changed={"target_delimiter": ""},
    ),
    Pair(
        ours="lighteval|super_glue:boolq",
        theirs="boolq",
        file="super_glue/boolq/default.yaml",
        metrics={"acc": "acc"},
    ),
    Pair(
        ours="lighteval|super_glue:copa",
        theirs="copa",
        file="super_glue/copa/default.yaml",
        metrics={"acc": "acc"},
        other_texts="it puts a second space before a choice",
    ),
    Pair(
        ours="lighteval|super_glue:copa",
        theirs="copa",
        file="super_glue/copa/default.yaml",
        metrics={"acc": "acc"},
        changed={"target_delimiter": ""},
    ),
    Pair(
        ours="lighteval|glue:rte",
        theirs="rte",
        file="glue/rte/default.yaml",
        metrics={"acc": "acc"},
    ),
    Pair(
        ours="leaderboard|hellaswag",
        theirs="hellaswag",
        file="hellaswag/hellaswag.yaml",
        metrics=_ACCURACIES,
    ),
    Pair(
        ours="lighteval|lambada:openai",
        theirs="lambada_openai",
        file="lambada/lambada_openai.yaml",
        metrics={"ppl": "perplexity"},
    ),
    Pair(
        ours="leaderboard|mmlu:anatomy",
        theirs="mmlu_anatomy",
        file="mmlu/default/mmlu_anatomy.yaml",
        metrics={"acc": "acc"},
        few_shots=5,
        n=20,
    ),
    Pair(
        ours="lighteval|openbookqa",
        theirs="openbookqa",
        file="openbookqa/openbookqa.yaml",
        metrics=_ACCURACIES,
    ),
    Pair(
        ours="lighteval|piqa",
        theirs="piqa",
        file="piqa/piqa.yaml",
        metrics=_ACCURACIES,
    ),
    Pair(
        ours="lighteval|sciq",
        theirs="sciq",
        file="sciq/sciq.yaml",
        metrics=_ACCURACIES,
        source={"evaluation_splits": ("validation",)},
        other_texts="a question without a passage keeps the line break that follows the passage",
    ),
    Pair(
        ours="lighteval|sciq",
        theirs="sciq",
        file="sciq/sciq.yaml",
        metrics=_ACCURACIES,
        source={"evaluation_splits": ("validation",)},
        changed={"doc_to_text": "{{(support + '\\nQuestion: ' + question + '\\nAnswer:').strip()}}"},
    ),
    Pair(
        ours="leaderboard|truthfulqa:mc",
        theirs="truthfulqa_mc1",
        file="truthfulqa/truthfulqa_mc1.yaml",
        metrics={"mc1": "acc"},
        n=20,
    ),
    Pair(
        ours="leaderboard|truthfulqa:mc",
        theirs="truthfulqa_mc2",
        file="truthfulqa/truthfulqa_mc2.yaml",
        metrics={"mc2": "acc"},
        n=20,
    ),
    Pair(
        ours="harness|wikitext:103:document_level",
        theirs="wikitext",
        file="wikitext/wikitext.yaml",
        metrics=_PERPLEXITIES,
        n=10,
        shortest_of="page",
        source={"hf_subset": "wikitext-2-raw-v1"},
    ),
)
