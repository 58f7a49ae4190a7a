"""Choose how a model's log-likelihoods are computed: over the prefix tree where that gives the same numbers, else by plain rows.

The numbers decide: at load both ways score a small probe, and the tree is used if they agree.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial
from typing import Any

from pytest_lighteval.backends.accelerate.budgets import Budgets
from pytest_lighteval.backends.accelerate.loading import LoadedModel
from pytest_lighteval.backends.accelerate.model_calls import ModelCalls
from pytest_lighteval.backends.accelerate.row_groups import ANY_ROWS, RowGroups, changing_ropes, hidden_selection
from pytest_lighteval.backends.accelerate.scoring.padding import PaddingProbe
from pytest_lighteval.backends.accelerate.scoring.row_scorer import RowScorer, RowScoring
from pytest_lighteval.backends.accelerate.scoring.scores import Failed, Scoring
from pytest_lighteval.backends.accelerate.scoring.tree_scorer import TreeScorer, TreeScoring
from pytest_lighteval.backends.common.token_pairs import TokenPair
from pytest_lighteval.errors import BackendError


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenScoring:
    """How log-likelihoods are computed."""

    scoring: Scoring
    plain_reason: str | None
    """Why by plain rows. None: over the prefix tree."""
    fused: bool
    """Whether fused kernels work here."""
    groups: RowGroups = ANY_ROWS
    """Which rows share a batch where plain rows run."""


def choose_scoring(loaded: LoadedModel, rows: RowScorer, budgets: Budgets, calls: ModelCalls, *, max_length: int) -> ChosenScoring:
    """Over the prefix tree if the model gives the same log-likelihoods with it, else by plain rows.

    Raises BackendError for a model that is not causal.
    """
    probe = PaddingProbe(loaded, rows, calls, max_length=max_length)
    groups = probe.short()

    def plain(groups: RowGroups) -> RowScoring:
        return RowScoring(rows, budgets.plain_rows, calls.attempt, partial(calls.on_shrink, unit="rows"), groups=groups)

    reason = unsupported(loaded.model.config, max_length)
    if reason is not None:
        groups = probe.long(groups)
        return ChosenScoring(scoring=plain(groups), plain_reason=reason, fused=True, groups=groups)
    # kernels that a machine lacks, or that fail on a model's shapes, are not worth giving up the tree for
    for fused in (True, False):
        scorer = TreeScorer(loaded.model, loaded.device, takes_places=rows.keep != "all", fused=fused)
        reason = _why_plain(scorer, loaded, rows, budgets, calls, groups, max_length=max_length)
        if reason is None:
            tree = TreeScoring(scorer, budgets.tree, calls.attempt, partial(calls.on_shrink, unit="tokens"), plain=plain(groups))
            return ChosenScoring(scoring=tree, plain_reason=None, fused=fused)
    groups = probe.long(groups)
    return ChosenScoring(scoring=plain(groups), plain_reason=reason, fused=False, groups=groups)


def _why_plain(
    scorer: TreeScorer,
    loaded: LoadedModel,
    rows: RowScorer,
    budgets: Budgets,
    calls: ModelCalls,
    groups: RowGroups,
    *,
    max_length: int,
) -> str | None:
    """Why this scorer cannot be used for the model. None: it can."""
    config = loaded.model.config
    try:
        with calls.as_backend_error("its configuration"):
            limits = budgets.tree
        reason = find_disagreement(
            # without any tolerated waste every shared path is a stem, however short
            TreeScoring(scorer, limits, calls.attempt, tolerated_waste=0),
            RowScoring(rows, budgets.plain_rows, calls.attempt, groups=groups),
            vocabulary=config.get_text_config().vocab_size,
            exact=loaded.is_exact,
            max_length=max_length,
        )
    except BackendError as error:
        return str(error).removeprefix(f"{calls.name}: ")
    if reason is None and not scorer.windows_seen:
        reason = hidden_window(config, max_length)
    return reason or hidden_selection(config.get_text_config(), max_length)


def find_disagreement(tree: Scoring, plain: Scoring, *, vocabulary: int, exact: bool, max_length: int) -> str | None:
    """Why the prefix tree cannot be used: how its log-likelihoods of a small probe differ from those of plain rows. None: it can.

    `exact`: the model computes in fp32 or better, so both must agree up to rounding. In half precision plain rows differ among
    themselves, but a wrong attention differs by far more.
    """
    pairs = _probe_pairs(vocabulary, max_length)
    found, expected = ({one.owner: one for batch in way.score(pairs) for one in batch} for way in (tree, plain))
    for owner, pair in enumerate(pairs):
        one, other = found[owner], expected[owner]
        if isinstance(one, Failed) or isinstance(other, Failed):
            return one.error if isinstance(one, Failed) else "plain rows fail"
        allowed = (
            max(1e-4, 1e-6 * abs(other.logprob))
            if exact
            else (0.25 + 0.01 * abs(other.logprob / len(pair.continuation))) * len(pair.continuation)
        )
        if not abs(one.logprob - other.logprob) <= allowed:
            return f"on a probe it gives {one.logprob:.4f} where plain rows give {other.logprob:.4f}"
    return None


def unsupported(config: Any, max_length: int) -> str | None:
    """Why a model of this configuration is not even tried on a prefix tree. None: it is tried. `max_length`: of its longest row."""
    text = config.get_text_config()
    if not getattr(text, "num_attention_heads", None):
        return "it has no attention heads"
    others = {kind for kind in getattr(text, "layer_types", None) or () if kind not in ("full_attention", "sliding_attention")}
    if others:
        return f"it has layers of {' and '.join(sorted(others))}"
    for rope, limit in changing_ropes(text):
        if limit < max_length:
            return f"its {rope} positions depend on the longest sequence of a batch"
    return None


def hidden_window(config: Any, max_length: int) -> str | None:
    """Why a model is not trusted if no layer passed a sliding window to the attention function. None: no window matters."""
    window = getattr(config.get_text_config(), "sliding_window", None)
    used = getattr(config.get_text_config(), "use_sliding_window", True)
    if window and used and window < max_length:
        return f"its sliding window of {window} tokens is applied where it cannot be seen"
    return None


def _probe_pairs(vocabulary: int, max_length: int) -> list[TokenPair]:
    """Two stems in a row, documents with nested choices of several lengths, and a document without a stem."""
    draw = random.Random(0)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(vocabulary) for _ in range(max(1, min(count, max_length // 8))))

    shared, nested = tokens(24), tokens(9)
    pairs = [TokenPair(context=tokens(7), continuation=tokens(3))]
    for front in (shared, shared, shared + nested, shared + nested):
        document, choice = tokens(11), tokens(4)
        pairs += [TokenPair(context=front + document, continuation=choice + tail) for tail in ((), tokens(2), tokens(5))]
        pairs.append(TokenPair(context=front + document, continuation=tokens(1)))
    return pairs
