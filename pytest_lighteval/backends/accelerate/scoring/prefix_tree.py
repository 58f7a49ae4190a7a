"""Plan log-likelihoods so that no token is computed twice: from pairs of token ids to pieces of their prefix tree. Plain Python, no torch.

The sequences that the model must see form a tree in which common prefixes are one path. The tree is cut into `Piece`s. A *stem* is a path
that many sequences share, such as the few-shot examples of a task: it is computed once, its keys and values are kept, and every piece after
it attends to them. Any other piece is a small subtree, such as a document and all its choices. Its tokens run in depth-first order, without
padding, and each token attends to the earlier tokens whose subtree it is in. The reasons: docs/decisions/004-attend-over-a-prefix-tree.md.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TypeVar

from pytest_lighteval.backends.accelerate.batches import BatchLimits, BatchResult, TooBig
from pytest_lighteval.backends.accelerate.scoring.scores import TargetTokens
from pytest_lighteval.backends.common.prefixes import common_prefix
from pytest_lighteval.backends.common.token_pairs import TokenPair

Result = TypeVar("Result")

_TOLERATED_WASTE = 192
"""Masked positions for each token of a piece, on average, up to which a shared path does not become a stem of its own.

Attention computes them in vain. As long as they are few, an extra forward pass for a stem costs more than it saves.
"""
MOST_TOKENS = 4096
"""Tokens of a piece at most: its mask has the square of that. A longer path becomes several pieces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Tokens that run together, after a stem or at the start."""

    stems: tuple[int, ...]
    """The numbers of the stems before this piece, from the start on."""
    start: int
    """How many tokens these stems have together."""
    tokens: tuple[int, ...]
    """In depth-first order."""
    depths: tuple[int, ...]
    """The position of each token in its sequence, from `start` on."""
    ends: tuple[int, ...]
    """For each token, the place after the last one of its subtree: token i attends to token j where j <= i < ends[j]."""
    targets: tuple[TargetTokens, ...]
    is_stem: bool
    """Other pieces come after it: its keys and values are kept."""

    @property
    def is_chain(self) -> bool:
        """Whether every token attends to all tokens before it."""
        return self.depths[-1] - self.start == len(self.tokens) - 1

    @property
    def scored_places(self) -> list[int]:
        """The places whose logits are needed, sorted."""
        return sorted({place for target in self.targets for place in target.places})


@dataclass(frozen=True, slots=True, kw_only=True)
class TreePlan:
    """All pieces; a stem comes before the pieces after it."""

    pieces: tuple[Piece, ...]
    children: tuple[tuple[int, ...], ...]
    """For each piece, the numbers of those directly after it. Empty for all but stems."""
    roots: tuple[int, ...]
    """The numbers of the pieces that have no stem."""


@dataclass(slots=True, kw_only=True)
class _Node:
    """A path of the compressed prefix tree: the tokens `start` to `end` of a sequence."""

    sequence: int
    start: int
    end: int
    parent: int
    children: list[int] = field(default_factory=list)
    below: int = 0
    """Tokens of the subtree, its own path included."""
    piece: int = -1
    place: int = 0
    """The place of its first token in the piece."""

    @property
    def length(self) -> int:
        return self.end - self.start


def plan_tree(pairs: Sequence[TokenPair], *, tolerated_waste: int = _TOLERATED_WASTE, most_tokens: int = MOST_TOKENS) -> TreePlan:
    """The pieces that answer all pairs; every token of the prefix tree is in exactly one of them.

    The model's input for a pair is its context and its continuation without the last token. A subtree is one piece unless it has more
    than `most_tokens`, or its tokens would attend to more than `tolerated_waste` masked positions on average. No piece has more than
    `most_tokens`: a longer path is a stem, or several in a row.
    """
    owners: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for owner, pair in enumerate(pairs):
        owners[pair.context + pair.continuation[:-1]].append(owner)
    # any order will do that puts common prefixes side by side; bytes compare at the speed of memcmp
    keyed = sorted((array("I", tokens).tobytes(), tokens) for tokens in owners)
    sequences = [tokens for _, tokens in keyed]
    nodes, ends_at = _build([key for key, _ in keyed])
    _cut_long_paths(nodes, most_tokens)
    members = _cut(nodes, tolerated_waste, most_tokens)
    targets: list[list[TargetTokens]] = [[] for _ in members]
    for tokens, last in zip(sequences, ends_at, strict=True):
        for owner in owners[tokens]:
            for piece, target in _targets(owner, pairs[owner], nodes, last):
                targets[piece].append(target)
    return _assemble(nodes, sequences, members, targets)


def _build(keys: Sequence[bytes]) -> tuple[list[_Node], list[int]]:
    """The prefix tree of sorted, distinct sequences, whose root is the empty path; and the node at which each sequence ends."""
    width = array("I").itemsize
    nodes = [_Node(sequence=-1, start=0, end=0, parent=-1)]
    ends_at: list[int] = []
    stack = [0]
    previous = b""
    for number, key in enumerate(keys):
        shared = common_prefix(previous, key) // width
        last = -1
        while nodes[stack[-1]].end > shared:
            last = stack.pop()
        if nodes[stack[-1]].end < shared:
            # the sequences part in the middle of a path: its front becomes a node of its own
            top, branch = stack[-1], nodes[last]
            nodes.append(_Node(sequence=branch.sequence, start=branch.start, end=shared, parent=top, children=[last]))
            nodes[top].children[-1] = len(nodes) - 1
            branch.start, branch.parent = shared, len(nodes) - 1
            stack.append(len(nodes) - 1)
        if len(key) // width > shared:
            nodes.append(_Node(sequence=number, start=shared, end=len(key) // width, parent=stack[-1]))
            nodes[stack[-1]].children.append(len(nodes) - 1)
            stack.append(len(nodes) - 1)
        ends_at.append(stack[-1])
        previous = key
    return nodes, ends_at


def _cut_long_paths(nodes: list[_Node], most_tokens: int) -> None:
    """Cut every path that is too long into several in a row; the last of them keeps the node's number."""
    for number in range(1, len(nodes)):
        node = nodes[number]
        while node.length > most_tokens:
            front = _Node(sequence=node.sequence, start=node.start, end=node.start + most_tokens, parent=node.parent, children=[number])
            siblings = nodes[node.parent].children
            siblings[siblings.index(number)] = len(nodes)
            node.start, node.parent = front.end, len(nodes)
            nodes.append(front)


def _depth_first(nodes: Sequence[_Node], start: int) -> list[int]:
    order: list[int] = []
    waiting = [start]
    while waiting:
        order.append(waiting.pop())
        waiting.extend(reversed(nodes[order[-1]].children))
    return order


def _cut(nodes: list[_Node], tolerated_waste: int, most_tokens: int) -> list[list[int]]:
    """The nodes of each piece in depth-first order. A piece of one node with children is a stem."""
    order = _depth_first(nodes, 0)
    for number in reversed(order):
        nodes[number].below = nodes[number].length + sum(nodes[child].below for child in nodes[number].children)
    members: list[list[int]] = []
    waiting = list(reversed(nodes[0].children))
    while waiting:
        number = waiting.pop()
        node = nodes[number]
        if not node.children or (node.below <= most_tokens and _waste(nodes, node) <= tolerated_waste * node.below):
            piece = _depth_first(nodes, number)
        else:
            piece = [number]
            waiting.extend(reversed(node.children))
        place = 0
        for member in piece:
            nodes[member].piece, nodes[member].place = len(members), place
            place += nodes[member].length
        members.append(piece)
    return members


def _waste(nodes: Sequence[_Node], node: _Node) -> int:
    """Pairs of tokens by which attention grows when a subtree is one piece and not a stem with a piece for each child."""
    branches = [nodes[child].below for child in node.children]
    below = sum(branches)
    return node.length * below + below * below - sum(branch * branch for branch in branches)


def _targets(owner: int, pair: TokenPair, nodes: Sequence[_Node], last: int) -> Iterator[tuple[int, TargetTokens]]:
    """A pair's targets in each piece on its path: each token from the context's last one on scores the token after it."""
    first = len(pair.context) - 1
    while True:
        node = nodes[last]
        start = max(first, node.start)
        tokens = pair.continuation[start - first : node.end - first]
        yield node.piece, TargetTokens(owner=owner, first=node.place + start - node.start, tokens=tokens)
        if node.start <= first:
            return
        last = node.parent


def _assemble(
    nodes: Sequence[_Node],
    sequences: Sequence[tuple[int, ...]],
    members: Sequence[Sequence[int]],
    targets: Sequence[Sequence[TargetTokens]],
) -> TreePlan:
    pieces: list[Piece] = []
    children: list[list[int]] = [[] for _ in members]
    roots: list[int] = []
    for number, piece in enumerate(members):
        top = nodes[piece[0]]
        parent = nodes[top.parent].piece
        is_stem = len(piece) == 1 and bool(top.children)
        size = top.length if is_stem else top.below
        (roots if parent < 0 else children[parent]).append(number)
        pieces.append(
            Piece(
                stems=() if parent < 0 else (*pieces[parent].stems, parent),
                start=top.start,
                tokens=tuple(chain.from_iterable(sequences[nodes[m].sequence][nodes[m].start : nodes[m].end] for m in piece)),
                depths=tuple(chain.from_iterable(range(nodes[m].start, nodes[m].end) for m in piece)),
                ends=tuple(chain.from_iterable([size if is_stem else nodes[m].place + nodes[m].below] * nodes[m].length for m in piece)),
                targets=tuple(targets[number]),
                is_stem=is_stem,
            )
        )
    return TreePlan(pieces=tuple(pieces), children=tuple(map(tuple, children)), roots=tuple(roots))


def run_plan(
    plan: TreePlan,
    limits: BatchLimits,
    run: Callable[[Sequence[int]], Result | None],
    release: Callable[[Iterable[int]], None] = lambda stems: None,
    on_shrink: Callable[[int], None] = lambda tokens: None,
) -> Iterator[BatchResult[int, Result] | TooBig[int]]:
    """Run all pieces, longest first, as many at a time as the limits allow, each stem before the pieces after it.

    Items are the numbers of pieces. `run` returns None when memory ran out. Then the batch runs again as two halves, and no later batch
    is bigger than the half; `on_shrink` gets the new number of tokens. `release` gets the stems that are not needed any more. Which pieces
    share a batch depends on the plan and the limits alone, never on the memory that happens to be free, as long as it suffices.
    """

    def longest_first(numbers: Iterable[int]) -> list[int]:
        return sorted(numbers, key=lambda number: -len(plan.pieces[number].tokens))

    waiting: list[tuple[list[int], tuple[int, ...]]] = [(longest_first(plan.roots), ())]
    kept = 0
    while waiting:
        queue, stems = waiting[-1]
        if not queue:
            waiting.pop()
            kept -= sum(len(plan.pieces[stem].tokens) for stem in stems)
            release(stems)
            continue
        batch = _take(plan, queue, limits, kept)
        result = run(batch)
        if result is not None:
            yield BatchResult(items=tuple(batch), result=result)
            del queue[: len(batch)]
            new = tuple(number for number in batch if plan.pieces[number].is_stem)
            if new:
                kept += sum(len(plan.pieces[stem].tokens) for stem in new)
                waiting.append((longest_first(child for stem in new for child in plan.children[stem]), new))
        elif len(batch) == 1:
            del queue[0]
            yield TooBig(items=tuple(_with_descendants(plan, batch[0])))
        else:
            half = batch[: len(batch) // 2]
            limits = replace(limits, tokens=sum(len(plan.pieces[number].tokens) for number in half))
            on_shrink(limits.tokens)


def _take(plan: TreePlan, queue: Sequence[int], limits: BatchLimits, kept: int) -> list[int]:
    batch: list[int] = []
    tokens = logits = 0
    for number in queue:
        piece = plan.pieces[number]
        tokens += len(piece.tokens)
        logits += len(piece.scored_places)
        kept += len(piece.tokens) if piece.is_stem else 0
        if batch and not limits.allow(rows=len(batch) + 1, tokens=tokens, logits=logits, kept=kept):
            break
        batch.append(number)
    return batch


def _with_descendants(plan: TreePlan, number: int) -> list[int]:
    found = [number]
    for piece in found:
        found.extend(plan.children[piece])
    return found
