"""Log-probabilities of a prompt's own tokens, which the completions API returns with `echo` and `logprobs`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_lighteval.backends.openai.answers import number, only_choice, token_count
from pytest_lighteval.backends.openai.client import Client
from pytest_lighteval.backends.openai.errors import UnansweredError
from pytest_lighteval.backends.openai.spelling import PIECE, Spelling

_SAME_TOKEN = 0.5
"""Nats by which two values of one token may differ: far more than the rounding of bfloat16, far less than between two tokens."""
_ROUNDING = 1e-3
"""Nats by which a log-probability may be above 0, and above that of the likeliest token."""
_LOWEST = -1e9
"""No finite log-probability is below this. vLLM writes -9999 for minus infinity."""
_CONTEXTS = ("One, two,", "Once upon")
_WORDS = (" the", " of", " and", "!")
"""Single tokens in nearly every vocabulary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """The tokens of a prompt with their log-probabilities. Each tuple has one entry for each token."""

    tokens: tuple[str, ...]
    """As the server writes them. If a character needs several tokens, its parts may be empty or a replacement character."""
    logprobs: tuple[float | None, ...]
    """None: the first token, which has nothing before it."""
    best: tuple[float | None, ...]
    """Log-probability of the likeliest token at this position."""
    own: tuple[float | None, ...]
    """What the likely tokens at this position say of the token itself. None: it is not among them."""
    offsets: tuple[int, ...]
    """Where each token starts in the text, in the server's count of characters."""
    end: int
    """Where the prompt's last token ends, in the same count."""
    prompt_tokens: int
    """The server's count of prompt tokens. It may be one more than the tokens: some servers do not echo the beginning token."""

    @property
    def hides_first(self) -> bool:
        """Whether the prompt's first token is not echoed."""
        return self.prompt_tokens > len(self.tokens)

    def count_after(self, text: str, border: int) -> int | None:
        """How many tokens start at or after character `border` of the prompt's text. None: the tokens' texts do not show it.

        Special tokens that the server writes or leaves out shift the offsets, so they are counted from the end. The texts of the tokens
        must then spell the rest of the prompt. A token that spans the border belongs to the context.
        """
        shift = self.end - len(text)
        first = next((place for place, offset in enumerate(self.offsets) if offset - shift >= border), len(self.tokens))
        if first == len(self.tokens) or not self.tokens[first]:
            return None
        spelled = "".join(self.tokens[first:])
        if spelled != text[self.offsets[first] - shift :]:
            return None
        before = self.tokens[first - 1] if first else ""
        # offsets of another text may hide a token that starts after the border too
        if before and PIECE not in before and len(text) - len(spelled) - len(before) >= border:
            return None
        return len(self.tokens) - first

    def count_covering(self, characters: int) -> int | None:
        """How many of the last tokens have the last characters of the text. None: their texts do not show it."""
        covered = 0
        for count, token in enumerate(reversed(self.tokens), 1):
            if not token or PIECE in token:
                return None
            covered += len(token)
            if covered >= characters:
                return count
        return None

    def score_last(self, count: int) -> tuple[float, bool]:
        """Summed log-probability (nats, float64) of the last tokens, and whether each is the likeliest. Raises UnansweredError."""
        if not 0 < count <= len(self.tokens):
            raise UnansweredError(f"the server's echo has {len(self.tokens)} tokens, and the last {count} were to be scored")
        logprobs, best = self.logprobs[-count:], self.best[-count:]
        if count == len(self.tokens) and logprobs[0] is None:
            raise UnansweredError("the server gives no log-probability of the first token, because nothing is before it")
        if any(logprob is None or not math.isfinite(logprob) for logprob in logprobs):
            raise UnansweredError("the server gives no finite log-probability of a token")
        if None in best:
            raise UnansweredError("the server does not say which token is the likeliest")
        known = [logprob for logprob in logprobs if logprob is not None]
        greedy = all(top is not None and logprob >= top for logprob, top in zip(known, best, strict=True))
        return math.fsum(known), greedy


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoForm:
    """What the echo of a known text showed about a server's echoes; the later ones are held to it."""

    spelling: Spelling
    first_is_empty: bool
    """The first token has no log-probability."""
    names_own: bool
    """Each token is among the likely tokens of its position, with the same log-probability."""

    @classmethod
    def learn(cls, echo: Echo, text: str) -> EchoForm | None:
        """From an echo whose tokens all have log-probabilities. None: it is not the echo of the text."""
        spelling = Spelling.learn(echo.tokens, text)
        if spelling is None:
            return None
        return cls(spelling=spelling, first_is_empty=echo.logprobs[0] is None, names_own=_names_own(echo))

    def check(self, echo: Echo, text: str | None) -> None:
        """Raise UnansweredError for the echo of anything but `text`, and for values that stand at other tokens. None: no text was sent."""
        if text is not None and not self.spelling.fits(echo.tokens, text, hides_first=echo.hides_first):
            raise UnansweredError("the server's echo is not the text that was sent")
        if self.first_is_empty and (echo.logprobs[0] is not None or None in echo.logprobs[1:]):
            raise UnansweredError("the server's log-probabilities belong to other tokens than those that it echoes")
        if self.names_own and not _names_own(echo):
            raise UnansweredError("the server's log-probabilities belong to other tokens than those that it echoes")


def _names_own(echo: Echo) -> bool:
    """Whether each token is among the likely ones of its position, as vLLM's are, with its own value. Pieces of characters look alike."""
    known = zip(echo.tokens, echo.logprobs, echo.own, strict=True)
    return all(
        own is not None and (logprob == own or abs(logprob - own) <= _ROUNDING)
        for token, logprob, own in known
        if token and PIECE not in token and logprob is not None
    )


def ask_echo(client: Client, model: str, prompt: str | Sequence[int]) -> Echo:
    """Let the server score a prompt (text or token ids). Raises UnansweredError, also for an answer without scores."""
    # one new token, which is not used: for several servers, 0 means "no limit"
    payload = {"model": model, "prompt": _plain(prompt), "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
    return _read(client.post("/completions", payload))


def count_prompt_tokens(client: Client, model: str, prompt: str | Sequence[int]) -> int | None:
    """How many tokens the server counts in a prompt. None: it does not report it. Raises UnansweredError."""
    payload = {"model": model, "prompt": _plain(prompt), "max_tokens": 1, "temperature": 0}
    return token_count(client.post("/completions", payload), "prompt_tokens")


def is_aligned(client: Client, model: str) -> bool:
    """Whether each echoed log-probability belongs to the token at its position. Raises UnansweredError.

    The server echoes texts that differ only in their last token. That token's log-probability must depend on which token it is. The
    log-probabilities before it must not, and neither must the best one at any position: they depend on earlier tokens alone. For models
    without a beginning token, llama-cpp-python 0.3.36 returns the values of the next position. If the words are not single tokens, so
    that no two texts can be compared, the server is trusted.
    """
    is_sensitive = None
    for context in _CONTEXTS:
        echoes = [ask_echo(client, model, context + word) for word in _WORDS]
        if any(not (context + word).endswith(_spelled(echo.tokens[-1])) for word, echo in zip(_WORDS, echoes, strict=True)):
            return False
        alike = max(([other for other in echoes if other.tokens[:-1] == echo.tokens[:-1]] for echo in echoes), key=len)
        if len(alike) < 2:
            continue
        *before, last = (_spread(values) for values in zip(*(echo.logprobs for echo in alike), strict=True))
        if max((*before, *(_spread(values) for values in zip(*(echo.best for echo in alike), strict=True)))) > _SAME_TOKEN:
            return False
        is_sensitive = bool(is_sensitive) or last > _SAME_TOKEN
    return is_sensitive is not False


def same_context(first: Echo, other: Echo) -> bool:
    """Whether two echoes say the same of the tokens that they begin with, as they must: a value depends on nothing behind its token.

    With the values of the next position at each token, the last common token has the value of what follows it. This is noticed of any
    server, also of one that begins to move its values when it has been probed, and does not name each token among the likely ones.
    """
    common = 0
    for one, another in zip(first.tokens, other.tokens, strict=False):
        if one != another:
            break
        common += 1
    pairs = zip(first.logprobs[:common], other.logprobs[:common], strict=True)
    return all((one is None) == (another is None) and _spread((one, another)) <= _SAME_TOKEN for one, another in pairs)


def _spelled(token: str) -> str:
    """A token's text. Some servers write it as in the vocabulary, with a sign for a space."""
    return token.replace("\u2581", " ").replace("\u0120", " ")


def _spread(values: Sequence[float | None]) -> float:
    """The largest difference. The first token has no value."""
    known = [value for value in values if value is not None]
    return max(known) - min(known) if known else 0.0


def _plain(prompt: str | Sequence[int]) -> str | list[int]:
    return prompt if isinstance(prompt, str) else list(prompt)


def _read(answer: Mapping[str, Any]) -> Echo:
    try:
        held = only_choice(answer)["logprobs"]
        tokens, logprobs, offsets, tops = (held[name] for name in ("tokens", "token_logprobs", "text_offset", "top_logprobs"))
        generated, counted = token_count(answer, "completion_tokens"), token_count(answer, "prompt_tokens")
        if generated is None or counted is None or not all(isinstance(listed, list) for listed in (tokens, logprobs, offsets, tops)):
            raise TypeError
        echoed = len(tokens) - generated
        if not len(tokens) == len(logprobs) == len(offsets) == len(tops) or not counted - 1 <= echoed <= counted or echoed < 1:
            raise ValueError
        if not all(type(offset) is int for offset in offsets) or not all(isinstance(token, str) for token in tokens):
            raise TypeError
    except (LookupError, TypeError, ValueError, AttributeError):
        raise UnansweredError("the server's answer has no log-probabilities of the prompt (echo with logprobs)") from None
    try:
        known = tuple(None if logprob is None else _logprob(logprob) for logprob in logprobs[:echoed])
        likely = [{token: _logprob(value) for token, value in (top or {}).items()} for top in tops[:echoed]]
    except (ValueError, AttributeError) as error:
        said = str(error) if isinstance(error, ValueError) else "it is no number"
        raise UnansweredError(f"the server gives what is no log-probability: {said}", is_outage=True) from None
    best = tuple(max(top.values(), default=None) for top in likely)
    if any(value is not None and top is not None and value > top + _ROUNDING for value, top in zip(known, best, strict=True)):
        raise UnansweredError("the server gives a token that is likelier than the likeliest", is_outage=True)
    return Echo(
        tokens=tuple(tokens[:echoed]),
        logprobs=known,
        best=best,
        own=tuple(top.get(token) for token, top in zip(tokens[:echoed], likely, strict=True)),
        offsets=tuple(offsets[:echoed]),
        end=offsets[echoed] if generated else offsets[-1] + len(tokens[-1]),
        prompt_tokens=counted,
    )


def _logprob(value: object) -> float:
    """A log-probability. Raises ValueError for what cannot be one."""
    converted = number(value)
    if converted > _ROUNDING:
        raise ValueError(f"it is {converted:.6g}, above 0")
    if converted < _LOWEST and math.isfinite(converted):
        raise ValueError(f"it is {converted:.6g}")
    return converted
