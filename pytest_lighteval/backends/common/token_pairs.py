"""Context and continuation as token ids, the way Lighteval v0.9.2 does it; shared by every backend that runs a model itself.

Knows tokenizers as callables from texts to ids; knows nothing of torch or of models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Encode = Callable[[Sequence[str], bool], list[list[int]]]
"""`(texts, add_special_tokens) -> ids of each`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """How much of a text is tokenized the same whatever is appended to it."""

    tokens: int
    characters: int


EncodeFronts = Callable[[Sequence[str], bool], list[tuple[list[int], Front | None]]]
"""The same as `Encode`, with each text's front. None: it cannot be told."""

_WORTH_SPLITTING = 200
"""Characters from which on a context is not encoded again for each of its continuations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPair:
    """A continuation to be scored after a context."""

    context: str
    continuation: str
    rendered: bool = False
    """The context came out of a chat template, which writes its own special tokens: none are added to it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPair:
    """The same in ids."""

    context: tuple[int, ...]
    """Never empty."""
    continuation: tuple[int, ...]
    """What is scored. Empty: the tokenizer makes no token of it, and it cannot be scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialTokens:
    """What a tokenizer has and adds by itself."""

    start: int
    """Stands for an empty context: the end-of-sequence token, or the beginning-of-sequence one where there is none."""
    end: int | None
    trailing: int
    """How many tokens it appends to every text (nearly always 0)."""


def find_special_tokens(encode: Encode, eos: int | None, bos: int | None) -> SpecialTokens:
    """Probe a tokenizer. Raises ValueError if it has neither an end nor a beginning token."""
    start = eos if eos is not None else bos
    if start is None:
        raise ValueError("the tokenizer has neither an end-of-sequence nor a beginning-of-sequence token")
    bare, full = encode(["a"], False)[0], encode(["a"], True)[0]
    # what it adds stands around the text's own tokens; only what follows them matters here
    added = len(full) - len(bare)
    leading = next((n for n in range(added + 1) if full[n : n + len(bare)] == bare), added)
    return SpecialTokens(start=start, end=eos, trailing=added - leading)


def with_start_space(continuation: str, start_space: bool | None) -> str:
    """`multichoice_continuations_start_space`: True gives it a leading space, False takes it away, None leaves it alone."""
    if start_space is None:
        return continuation
    if not start_space:
        return continuation.lstrip() if continuation.startswith(" ") else continuation
    return continuation if continuation.startswith(" ") else f" {continuation}"


def encode_pairs(
    pairs: Sequence[TextPair],
    encode: Encode,
    special: SpecialTokens,
    *,
    add_special_tokens: bool = True,
    pairwise: bool = False,
    encode_fronts: EncodeFronts | None = None,
) -> list[TokenPair]:
    """Order out is order in; every distinct text is encoded once, all of them in few calls.

    The rules are Lighteval's `tok_encode_pair` (https://github.com/huggingface/lighteval, v0.9.2): whitespace at the end of the context
    moves to the front of the continuation. Then context and continuation are encoded together, and the continuation is what lies behind
    as many tokens as the context has when encoded alone; if nothing lies there, because the continuation merged into the context's last
    token, that token is the continuation. `pairwise` encodes the two apart, and takes an end token off the context. An empty context is
    the start token, followed by the continuation encoded with the special tokens.

    Differences: no special tokens are added to a rendered chat (a second beginning token otherwise), and tokens that the tokenizer
    appends to every text do not count as continuation.

    Where `encode_fronts` tells how much of a long context does not depend on what follows, only the rest of it is encoded again with each
    continuation, and only if that rest, encoded alone, gives the very tokens that it has in the context.
    """
    texts = _Encodings(encode, special, add_special_tokens)
    moved = [move_spaces(pair) for pair in pairs]
    if encode_fronts is not None and not pairwise:
        texts.learn_fronts([pair for pair in moved if pair.context], encode_fronts)
    for given, pair in zip(pairs, moved, strict=True):
        if given.context:
            texts.ask(pair.context, rendered=pair.rendered)
        if pairwise and given.context:
            # only the front of a text takes special tokens, so a continuation encoded alone behind a context takes none
            texts.ask(pair.continuation, rendered=True)
        else:
            texts.ask_whole(pair)
    encoded: list[TokenPair] = []
    for given, pair in zip(pairs, moved, strict=True):
        if not given.context:
            context: tuple[int, ...] = ()
            continuation = texts.ids_whole(pair)
        elif pairwise:
            context = texts.ids(pair.context, rendered=pair.rendered)
            context = context[:-1] if context and context[-1] == special.end else context
            continuation = texts.ids(pair.continuation, rendered=True)
        else:
            context = texts.ids(pair.context, rendered=pair.rendered)
            whole = texts.ids_whole(pair)
            if len(whole) <= len(context):
                context = whole[:-1]
            continuation = whole[len(context) :]
        encoded.append(TokenPair(context=context or (special.start,), continuation=continuation))
    return encoded


def encode_prompts(
    prompts: Sequence[tuple[str, bool]], encode: Encode, special: SpecialTokens, *, add_special_tokens: bool = True
) -> list[tuple[int, ...]]:
    """Ids of `(text, rendered)` prompts to be continued; an empty one is the start token."""
    texts = _Encodings(encode, special, add_special_tokens)
    for text, rendered in prompts:
        texts.ask(text, rendered=rendered)
    return [texts.ids(text, rendered=rendered) or (special.start,) for text, rendered in prompts]


def encode_rolling(
    texts: Sequence[str], encode: Encode, special: SpecialTokens, *, add_special_tokens: bool = True
) -> list[tuple[int, ...]]:
    """Ids of whole texts to be scored; an empty text has none."""
    return (
        [tuple(ids[: len(ids) - special.trailing]) if add_special_tokens else tuple(ids) for ids in encode(texts, add_special_tokens)]
        if texts
        else []
    )


def rolling_windows(tokens: Sequence[int], start: int, max_length: int) -> list[TokenPair]:
    """Cut a text into pairs that score every token exactly once, each with as much context as fits.

    The rule is that of the EleutherAI harness (`get_rolling_token_windows` with `context_len=1`, then `make_disjoint_window`;
    https://github.com/EleutherAI/lm-evaluation-harness): windows of `max_length` inputs follow one another, the first behind the start
    token, and the last one reaches back to fill itself. A text of up to `max_length` tokens is one window.
    """
    windows: list[TokenPair] = []
    inputs = (start, *tokens)
    for first in range(0, len(tokens), max_length):
        behind = min(first + max_length, len(tokens))
        windows.append(TokenPair(context=tuple(inputs[max(0, behind - max_length) : first + 1]), continuation=tuple(tokens[first:behind])))
    return windows


def move_spaces(pair: TextPair) -> TextPair:
    """Whitespace at the end of the context as the beginning of the continuation."""
    bare = pair.context.rstrip()
    if bare == pair.context:
        return pair
    return TextPair(context=bare, continuation=pair.context[len(bare) :] + pair.continuation, rendered=pair.rendered)


class _Encodings:
    """Texts to be encoded, each distinct one once, in few calls of the tokenizer."""

    def __init__(self, encode: Encode, special: SpecialTokens, add_special_tokens: bool) -> None:
        self._encode, self._special, self._add = encode, special, add_special_tokens
        self._known: dict[tuple[str, bool], tuple[int, ...]] = {}
        self._asked: dict[tuple[str, bool], None] = {}
        self._fronts: dict[tuple[str, bool], tuple[tuple[int, ...], str]] = {}
        """Contexts that need not be encoded again: the ids of their front, and the text behind it."""

    def ask(self, text: str, *, rendered: bool) -> None:
        if (key := (text, self._add and not rendered)) not in self._known:
            self._asked[key] = None

    def ids(self, text: str, *, rendered: bool) -> tuple[int, ...]:
        if self._asked:
            for special in (False, True):
                texts = [asked for asked, with_special in self._asked if with_special is special]
                for asked, ids in zip(texts, self._encode(texts, special) if texts else (), strict=True):
                    self._known[asked, special] = self._without_trailing(ids, special)
            self._asked = {}
        return self._known[text, self._add and not rendered]

    def ask_whole(self, pair: TextPair) -> None:
        """Context and continuation together."""
        front = self._fronts.get((pair.context, self._add and not pair.rendered))
        if front is None:
            self.ask(pair.context + pair.continuation, rendered=pair.rendered)
        else:
            self.ask(front[1] + pair.continuation, rendered=True)

    def ids_whole(self, pair: TextPair) -> tuple[int, ...]:
        front = self._fronts.get((pair.context, self._add and not pair.rendered))
        if front is None:
            return self.ids(pair.context + pair.continuation, rendered=pair.rendered)
        return front[0] + self.ids(front[1] + pair.continuation, rendered=True)

    def learn_fronts(self, pairs: Sequence[TextPair], encode_fronts: EncodeFronts) -> None:
        """Encode the long contexts of several continuations, and find which of them need not be encoded with each of these."""
        uses = Counter((pair.context, self._add and not pair.rendered) for pair in pairs)
        for special in (False, True):
            contexts = [text for (text, flag), count in uses.items() if flag is special and count > 1 and len(text) >= _WORTH_SPLITTING]
            split: list[tuple[str, tuple[int, ...], Front]] = []
            for context, (ids, front) in zip(contexts, encode_fronts(contexts, special) if contexts else (), strict=True):
                self._known[context, special] = self._without_trailing(ids, special)
                if front is not None:
                    split.append((context, self._known[context, special], front))
            rests = [context[front.characters :] for context, _, front in split]
            for (context, whole, front), rest, alone in zip(split, rests, self._encode(rests, False) if rests else (), strict=True):
                if tuple(alone) == whole[front.tokens :]:
                    self._fronts[context, special] = (whole[: front.tokens], rest)

    def _without_trailing(self, ids: Sequence[int], special: bool) -> tuple[int, ...]:
        return tuple(ids[: len(ids) - (self._special.trailing if special else 0)])
