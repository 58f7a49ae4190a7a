"""Plan log-likelihoods so that no token is computed twice: from pairs of token ids to pieces of their prefix tree. Plain Python, no torch.

All sequences that must be fed form a tree in which common prefixes are one path. The tree is cut into `Piece`s. A *stem* is a path that
much hangs on, such as the few-shot examples of a task: it is computed once, its keys and values are kept, and every piece behind it
attends to them. Any other piece is a small tree of its own, such as a document and all its choices: it is fed as one flat run of
tokens in depth-first order, in which a token attends to those in front of it whose subtree it stands in.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Generic, TypeVar

from pytest_lighteval.backends.common.token_pairs import TokenPair

Result = TypeVar("Result")

_TOLERATED_WASTE = 192
"""Positions that a token may attend to in vain, on average, before a shared path becomes a stem of its own.

A piece is attended densely under a mask. Where this is a few positions, an extra forward pass costs more than it saves.
"""
MOST_TOKENS = 4096
"""Tokens of a piece. A tree has a mask of the square of that, and a longer path is fed in parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """How likely are these tokens: `targets[i]` behind the token at place `first + i` of the piece?"""

    owner: int
    """The index of the pair that asks."""
    step: int
    """The place of the first target in the pair's continuation."""
    first: int
    targets: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Tokens that are fed together, behind a stem or at the start."""

    stems: tuple[int, ...]
    """The pieces whose tokens all stand in front of this one, from the start on."""
    start: int
    """How many tokens that is."""
    tokens: tuple[int, ...]
    """In depth-first order."""
    depths: tuple[int, ...]
    """The position of each token in its sequence, from `start` on."""
    ends: tuple[int, ...]
    """For each token, the place behind the last one of its subtree: token i attends to token j where j <= i < ends[j]."""
    asks: tuple[Ask, ...]
    is_stem: bool
    """Other pieces stand behind it: its keys and values are kept."""

    @property
    def is_chain(self) -> bool:
        """Whether every token attends to all in front of it."""
        return self.depths[-1] - self.start == len(self.tokens) - 1

    @property
    def asked_places(self) -> list[int]:
        """The places whose logits are needed, sorted."""
        return sorted({ask.first + offset for ask in self.asks for offset in range(len(ask.targets))})


@dataclass(frozen=True, slots=True, kw_only=True)
class TreePlan:
    """All pieces; a stem comes before what stands behind it."""

    pieces: tuple[Piece, ...]
    children: tuple[tuple[int, ...], ...]
    """For each piece, those directly behind it. Empty for all but stems."""
    roots: tuple[int, ...]
    """Those behind no stem."""

    @property
    def tokens(self) -> int:
        """Tokens that are computed."""
        return sum(len(piece.tokens) for piece in self.pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may be at once; one piece alone is always allowed."""

    tokens: int
    """Fed in a batch."""
    logits: int
    """Positions of a batch whose logits are computed."""
    kept: int
    """Tokens of stems whose keys and values are kept."""
    pieces: int | None = None
    """Fed in a batch. None: any number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Generic[Result]):
    """Pieces that ran together, and what came of it."""

    pieces: tuple[int, ...]
    result: Result


@dataclass(frozen=True, slots=True, kw_only=True)
class TooBig:
    """A piece that did not fit into memory even alone, with all that stands behind it."""

    pieces: tuple[int, ...]


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
    """Where its first token stands in the piece."""

    @property
    def length(self) -> int:
        return self.end - self.start


def plan_tree(pairs: Sequence[TokenPair], *, tolerated_waste: int = _TOLERATED_WASTE, most_tokens: int = MOST_TOKENS) -> TreePlan:
    """The pieces that answer all pairs; every token of the prefix tree is in exactly one of them.

    What is fed for a pair is its context and its continuation but for the last token. A subtree is one piece unless it has more than
    `most_tokens` or its tokens would attend to more than `tolerated_waste` positions in vain. No piece has more than `most_tokens`: a
    longer path is a stem, or several behind one another.
    """
    fed: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for owner, pair in enumerate(pairs):
        fed[pair.context + pair.continuation[:-1]].append(owner)
    # the order of the bytes is any order that puts common prefixes side by side, and compares at the speed of memcmp
    keyed = sorted((array("I", tokens).tobytes(), tokens) for tokens in fed)
    sequences = [tokens for _, tokens in keyed]
    nodes, ends_at = _build([key for key, _ in keyed])
    _cut_long_paths(nodes, most_tokens)
    members = _cut(nodes, tolerated_waste, most_tokens)
    asks: list[list[Ask]] = [[] for _ in members]
    for tokens, last in zip(sequences, ends_at, strict=True):
        for owner in fed[tokens]:
            for piece, ask in _asks(owner, pairs[owner], nodes, last):
                asks[piece].append(ask)
    return _assemble(nodes, sequences, members, asks)


def _build(keys: Sequence[bytes]) -> tuple[list[_Node], list[int]]:
    """The prefix tree of sorted, distinct sequences, its root the empty path; and the node at which each sequence ends."""
    width = array("I").itemsize
    nodes = [_Node(sequence=-1, start=0, end=0, parent=-1)]
    ends_at: list[int] = []
    stack = [0]
    previous = b""
    for number, key in enumerate(keys):
        shared = _common_prefix(previous, key) // width
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
    """Make every path that is too long several behind one another; the last of them keeps the node's number."""
    for number in range(1, len(nodes)):
        node = nodes[number]
        while node.length > most_tokens:
            front = _Node(sequence=node.sequence, start=node.start, end=node.start + most_tokens, parent=node.parent, children=[number])
            siblings = nodes[node.parent].children
            siblings[siblings.index(number)] = len(nodes)
            node.start, node.parent = front.end, len(nodes)
            nodes.append(front)


def _common_prefix(one: bytes, other: bytes) -> int:
    """Bytes that both start with, found by halving: comparing slices is far faster than comparing items."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while low < high - 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


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
    behind = sum(branches)
    return node.length * behind + behind * behind - sum(branch * branch for branch in branches)


def _asks(owner: int, pair: TokenPair, nodes: Sequence[_Node], last: int) -> Iterator[tuple[int, Ask]]:
    """What a pair asks of each piece on its path: the tokens from its context's last one on, each for what comes behind it."""
    first = len(pair.context) - 1
    while True:
        node = nodes[last]
        start = max(first, node.start)
        targets = pair.continuation[start - first : node.end - first]
        yield node.piece, Ask(owner=owner, step=start - first, first=node.place + start - node.start, targets=targets)
        if node.start <= first:
            return
        last = node.parent


def _assemble(
    nodes: Sequence[_Node], sequences: Sequence[tuple[int, ...]], members: Sequence[Sequence[int]], asks: Sequence[Sequence[Ask]]
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
                asks=tuple(asks[number]),
                is_stem=is_stem,
            )
        )
    return TreePlan(pieces=tuple(pieces), children=tuple(map(tuple, children)), roots=tuple(roots))


def run_plan(
    plan: TreePlan,
    limits: Limits,
    run: Callable[[Sequence[int]], Result | None],
    release: Callable[[Iterable[int]], None] = lambda stems: None,
    on_shrink: Callable[[int], None] = lambda tokens: None,
) -> Iterator[Batch[Result] | TooBig]:
    """Run all pieces, longest first, as many at a time as the limits allow, each stem before what stands behind it.

    `run` returns None when memory ran out: the batch is run again as two halves, and no later batch is bigger than what failed;
    `on_shrink` hears the new number of tokens. `release` hears which stems are not needed any more. Which pieces share a batch depends on
    the plan and the limits alone, never on the memory that happens to be free, as long as it suffices.
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
            yield Batch(pieces=tuple(batch), result=result)
            del queue[: len(batch)]
            new = tuple(number for number in batch if plan.pieces[number].is_stem)
            if new:
                kept += sum(len(plan.pieces[stem].tokens) for stem in new)
                waiting.append((longest_first(child for stem in new for child in plan.children[stem]), new))
        elif len(batch) == 1:
            del queue[0]
            yield TooBig(pieces=tuple(_with_all_behind(plan, batch[0])))
        else:
            half = batch[: len(batch) // 2]
            limits = replace(limits, tokens=sum(len(plan.pieces[number].tokens) for number in half))
            on_shrink(limits.tokens)


def _take(plan: TreePlan, queue: Sequence[int], limits: Limits, kept: int) -> list[int]:
    batch: list[int] = []
    tokens = logits = 0
    for number in queue:
        piece = plan.pieces[number]
        tokens += len(piece.tokens)
        logits += len(piece.asked_places)
        kept += len(piece.tokens) if piece.is_stem else 0
        full = tokens > limits.tokens or logits > limits.logits or kept > limits.kept or len(batch) == limits.pieces
        if batch and full:
            break
        batch.append(number)
    return batch


def _with_all_behind(plan: TreePlan, number: int) -> list[int]:
    found = [number]
    for piece in found:
        found.extend(plan.children[piece])
    return found
