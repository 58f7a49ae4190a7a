"""Context and continuation as token ids, by the rules of Lighteval v0.9.2 or of lm-evaluation-harness.

A tokenizer is a function from texts to ids here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pytest_lighteval.types import Tokenization

Encode = Callable[[Sequence[str], bool], list[list[int]]]
"""`(texts, add_special_tokens) -> ids of each`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StablePrefix:
    """The part of a text whose tokens stay the same, whatever is appended to the text."""

    tokens: int
    characters: int


EncodePrefixes = Callable[[Sequence[str], bool], list[tuple[list[int], StablePrefix | None]]]
"""The same as `Encode`, with each text's stable prefix. None: unknown."""

_WORTH_SPLITTING = 200
"""A context with at least this many characters is not encoded again for each of its continuations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPair:
    """A continuation to be scored after a context."""

    context: str
    continuation: str
    rendered: bool = False
    """A chat template wrote the context, with its special tokens: none are added again."""
    tokenization: Tokenization = "lighteval"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPair:
    """A `TextPair` in token ids."""

    context: tuple[int, ...]
    """Never empty."""
    continuation: tuple[int, ...]
    """What is scored. Empty: the text has no tokens, so it cannot be scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialTokens:
    """The special tokens that a tokenizer has, and how it adds them."""

    start: int
    """Used in place of an empty context: the end-of-sequence token or, if there is none, the beginning-of-sequence token."""
    end: int | None
    trailing: int
    """How many tokens it appends to every text (nearly always 0)."""
    prefix: int
    """lm-eval's token in place of an empty context: the beginning-of-sequence token or, if there is none, the end-of-sequence token."""
    prefix_text: str = ""
    """The text of `prefix`. lm-eval adds no special tokens to a text that begins with it. Empty: unknown."""

    def start_of(self, tokenization: Tokenization) -> int:
        """The token in place of an empty context."""
        return self.prefix if tokenization == "lm_eval" else self.start

    def is_complete(self, text: str, *, rendered: bool, tokenization: Tokenization) -> bool:
        """Whether a text has its special tokens already."""
        if tokenization == "lm_eval":
            return bool(self.prefix_text) and text.startswith(self.prefix_text)
        return rendered


def find_special_tokens(encode: Encode, eos: int | None, bos: int | None) -> SpecialTokens:
    """Probe a tokenizer. Raises ValueError if it has neither an end nor a beginning token."""
    start = eos if eos is not None else bos
    if start is None:
        raise ValueError("the tokenizer has neither an end-of-sequence nor a beginning-of-sequence token")
    bare, full = encode(["a"], False)[0], encode(["a"], True)[0]
    # it may add tokens before and after the text's own; only those after matter here
    added = len(full) - len(bare)
    leading = next((n for n in range(added + 1) if full[n : n + len(bare)] == bare), added)
    return SpecialTokens(start=start, end=eos, trailing=added - leading, prefix=start if bos is None else bos)


def with_start_space(continuation: str, start_space: bool | None) -> str:
    """By `multichoice_continuations_start_space`: True adds a leading space, False removes it, None changes nothing."""
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
    encode_prefixes: EncodePrefixes | None = None,
) -> list[TokenPair]:
    """In the order of the pairs. Each distinct text is encoded once, all of them in few calls.

    The rules are Lighteval's `tok_encode_pair` (https://github.com/huggingface/lighteval, v0.9.2):

    - Whitespace at the end of the context moves to the start of the continuation.
    - The two are encoded together, and as many tokens as the context has when encoded alone are cut off: the rest is the continuation.
      If no token is left, because the continuation merged into the context's last token, that token is the continuation.
    - `pairwise` encodes the two separately, and removes an end token from the context.
    - An empty context is the start token; the continuation is then encoded with the special tokens.

    Pairs with `tokenization="lm_eval"` follow `TemplateLM.loglikelihood` of lm-evaluation-harness 0.4.13, which differs in this:

    - A continuation that merged into the context's last token has no token left, and cannot be scored.
    - An empty context is `prefix`, and the continuation gets no special tokens; if it begins with `prefix`, that token is the context.
    - Special tokens are added unless the context begins with the text of `prefix`, be it rendered or not.

    Two differences from Lighteval: a rendered chat gets no special tokens (it would have a second beginning token), and tokens that the
    tokenizer appends to every text are no part of the continuation.

    With `encode_prefixes`, a long context is not encoded again with each continuation, only what follows its stable prefix. This needs a
    rest that has the same tokens alone as in the context.
    """
    texts = _Encodings(encode, special, add_special_tokens)
    pairs = [
        replace(pair, rendered=special.is_complete(pair.context, rendered=pair.rendered, tokenization=pair.tokenization)) for pair in pairs
    ]
    moved = [move_spaces(pair) for pair in pairs]
    if encode_prefixes is not None and not pairwise:
        texts.learn_prefixes([pair for pair in moved if pair.context], encode_prefixes)
    for given, pair in zip(pairs, moved, strict=True):
        if given.context:
            texts.add(pair.context, rendered=pair.rendered)
        if pairwise and given.context:
            # special tokens are added at the start of a text, so a continuation after a context gets none
            texts.add(pair.continuation, rendered=True)
        elif not given.context and given.tokenization == "lm_eval":
            texts.add(pair.continuation, rendered=True)
        else:
            texts.add_whole(pair)
    encoded: list[TokenPair] = []
    for given, pair in zip(pairs, moved, strict=True):
        context: tuple[int, ...] = ()
        if not given.context and given.tokenization == "lm_eval":
            context, continuation = (special.prefix,), texts.ids(pair.continuation, rendered=True)
            if continuation[:1] == context:
                continuation = continuation[1:]
        elif not given.context:
            continuation = texts.ids_whole(pair)
        elif pairwise:
            context = texts.ids(pair.context, rendered=pair.rendered)
            context = context[:-1] if context and context[-1] == special.end else context
            continuation = texts.ids(pair.continuation, rendered=True)
        else:
            context = texts.ids(pair.context, rendered=pair.rendered)
            whole = texts.ids_whole(pair)
            if len(whole) <= len(context) and given.tokenization == "lighteval":
                context = whole[:-1]
            continuation = whole[len(context) :]
        encoded.append(TokenPair(context=context or (special.start_of(given.tokenization),), continuation=continuation))
    return encoded


def encode_prompts(
    prompts: Sequence[tuple[str, bool, Tokenization]], encode: Encode, special: SpecialTokens, *, add_special_tokens: bool = True
) -> list[tuple[int, ...]]:
    """Ids of `(text, rendered, tokenization)` prompts to be continued. An empty prompt is the start token."""
    texts = _Encodings(encode, special, add_special_tokens)
    complete = [special.is_complete(text, rendered=rendered, tokenization=rule) for text, rendered, rule in prompts]
    for (text, _, _), rendered in zip(prompts, complete, strict=True):
        texts.add(text, rendered=rendered)
    return [
        texts.ids(text, rendered=rendered) or (special.start_of(rule),) for (text, _, rule), rendered in zip(prompts, complete, strict=True)
    ]


def encode_rolling(
    texts: Sequence[tuple[str, Tokenization]], encode: Encode, special: SpecialTokens, *, add_special_tokens: bool = True
) -> list[tuple[int, ...]]:
    """Ids of whole texts to be scored. An empty text has none."""
    encodings = _Encodings(encode, special, add_special_tokens)
    complete = [special.is_complete(text, rendered=False, tokenization=rule) for text, rule in texts]
    for (text, _), rendered in zip(texts, complete, strict=True):
        encodings.add(text, rendered=rendered)
    return [encodings.ids(text, rendered=rendered) for (text, _), rendered in zip(texts, complete, strict=True)]


def rolling_windows(tokens: Sequence[int], start: int, max_length: int) -> list[TokenPair]:
    """Pairs that score every token of a text exactly once, each with as much context as fits.

    The rule is that of the EleutherAI harness (`get_rolling_token_windows` with `context_len=1`, then `make_disjoint_window`;
    https://github.com/EleutherAI/lm-evaluation-harness). Windows of `max_length` inputs follow one another. The first begins with the
    start token; the last one takes as much context as it needs to be full. A text of up to `max_length` tokens is one window.
    """
    windows: list[TokenPair] = []
    inputs = (start, *tokens)
    for first in range(0, len(tokens), max_length):
        stop = min(first + max_length, len(tokens))
        windows.append(TokenPair(context=tuple(inputs[max(0, stop - max_length) : first + 1]), continuation=tuple(tokens[first:stop])))
    return windows


def move_spaces(pair: TextPair) -> TextPair:
    """The pair with whitespace moved from the end of the context to the start of the continuation."""
    bare = pair.context.rstrip()
    if bare == pair.context:
        return pair
    return replace(pair, context=bare, continuation=pair.context[len(bare) :] + pair.continuation)


class _Encodings:
    """Texts and their ids. Texts are first added, then encoded in few calls of the tokenizer, each distinct one once."""

    def __init__(self, encode: Encode, special: SpecialTokens, add_special_tokens: bool) -> None:
        self._encode, self._special, self._add = encode, special, add_special_tokens
        self._known: dict[tuple[str, bool], tuple[int, ...]] = {}
        self._added: dict[tuple[str, bool], None] = {}
        self._prefixes: dict[tuple[str, bool], tuple[tuple[int, ...], str]] = {}
        """Contexts that need not be encoded again: the ids of their stable prefix, and the text after it."""

    def add(self, text: str, *, rendered: bool) -> None:
        if (key := (text, self._add and not rendered)) not in self._known:
            self._added[key] = None

    def ids(self, text: str, *, rendered: bool) -> tuple[int, ...]:
        if self._added:
            for special in (False, True):
                texts = [added for added, with_special in self._added if with_special is special]
                for added, ids in zip(texts, self._encode(texts, special) if texts else (), strict=True):
                    self._known[added, special] = self._without_trailing(ids, special)
            self._added = {}
        return self._known[text, self._add and not rendered]

    def add_whole(self, pair: TextPair) -> None:
        """Context and continuation together."""
        prefix = self._prefixes.get((pair.context, self._add and not pair.rendered))
        if prefix is None:
            self.add(pair.context + pair.continuation, rendered=pair.rendered)
        else:
            self.add(prefix[1] + pair.continuation, rendered=True)

    def ids_whole(self, pair: TextPair) -> tuple[int, ...]:
        prefix = self._prefixes.get((pair.context, self._add and not pair.rendered))
        if prefix is None:
            return self.ids(pair.context + pair.continuation, rendered=pair.rendered)
        return prefix[0] + self.ids(prefix[1] + pair.continuation, rendered=True)

    def learn_prefixes(self, pairs: Sequence[TextPair], encode_prefixes: EncodePrefixes) -> None:
        """Encode the long contexts that have several continuations, and keep the stable prefixes that can be used."""
        uses = Counter((pair.context, self._add and not pair.rendered) for pair in pairs)
        for special in (False, True):
            contexts = [text for (text, flag), count in uses.items() if flag is special and count > 1 and len(text) >= _WORTH_SPLITTING]
            split: list[tuple[str, tuple[int, ...], StablePrefix]] = []
            for context, (ids, prefix) in zip(contexts, encode_prefixes(contexts, special) if contexts else (), strict=True):
                self._known[context, special] = self._without_trailing(ids, special)
                if prefix is not None:
                    split.append((context, self._known[context, special], prefix))
            rests = [context[prefix.characters :] for context, _, prefix in split]
            for (context, whole, prefix), rest, alone in zip(split, rests, self._encode(rests, False) if rests else (), strict=True):
                if tuple(alone) == whole[prefix.tokens :]:
                    self._prefixes[context, special] = (whole[: prefix.tokens], rest)

    def _without_trailing(self, ids: Sequence[int], special: bool) -> tuple[int, ...]:
        return tuple(ids[: len(ids) - (self._special.trailing if special else 0)])
