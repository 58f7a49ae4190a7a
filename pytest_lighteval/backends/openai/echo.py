"""Log-probabilities of a prompt's own tokens, which the completions API returns with `echo` and `logprobs`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_lighteval.backends.openai.client import Client, UnansweredError

_SAME_TOKEN = 0.5
"""Nats by which two values of one token may differ: far more than the rounding of bfloat16, far less than between two tokens."""
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
    offsets: tuple[int, ...]
    """Where each token starts in the text, in the server's count of characters."""
    end: int
    """Where the prompt's last token ends, in the same count."""
    prompt_tokens: int
    """The server's count of prompt tokens. It may be one more than the tokens: some servers do not echo the beginning token."""

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
        return len(self.tokens) - first if spelled == text[self.offsets[first] - shift :] else None

    def score_last(self, count: int) -> tuple[float, bool]:
        """Summed log-probability (nats, float64) of the last tokens, and whether each is the likeliest. Raises UnansweredError."""
        if not 0 < count <= len(self.tokens):
            raise UnansweredError(f"the server's echo has {len(self.tokens)} tokens, and the last {count} were to be scored")
        logprobs, best = self.logprobs[-count:], self.best[-count:]
        if count == len(self.tokens) and logprobs[0] is None:
            raise UnansweredError("the server gives no log-probability of the first token, because nothing is before it")
        if any(logprob is None or not math.isfinite(logprob) for logprob in logprobs):
            raise UnansweredError("the server gives no finite log-probability of a token")
        known = [logprob for logprob in logprobs if logprob is not None]
        greedy = all(top is not None and logprob >= top for logprob, top in zip(known, best, strict=True))
        return math.fsum(known), greedy


def ask_echo(client: Client, model: str, prompt: str | Sequence[int]) -> Echo:
    """Let the server score a prompt (text or token ids). Raises UnansweredError, also for an answer without scores."""
    # one new token, which is not used: for several servers, 0 means "no limit"
    payload = {"model": model, "prompt": _plain(prompt), "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
    return _read(client.post("/completions", payload))


def count_prompt_tokens(client: Client, model: str, prompt: str | Sequence[int]) -> int | None:
    """How many tokens the server counts in a prompt. None: it does not report it. Raises UnansweredError."""
    payload = {"model": model, "prompt": _plain(prompt), "max_tokens": 1, "temperature": 0}
    usage = client.post("/completions", payload).get("usage")
    count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return count if isinstance(count, int) else None


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
        held = answer["choices"][0]["logprobs"]
        tokens, logprobs, offsets, tops = (held[name] for name in ("tokens", "token_logprobs", "text_offset", "top_logprobs"))
        usage = answer["usage"]
        generated, counted = usage["completion_tokens"], usage["prompt_tokens"]
        echoed = len(tokens) - generated
        if not len(tokens) == len(logprobs) == len(offsets) == len(tops) or not counted - 1 <= echoed <= counted or echoed < 1:
            raise ValueError
        return Echo(
            tokens=tuple(map(str, tokens[:echoed])),
            logprobs=tuple(None if logprob is None else float(logprob) for logprob in logprobs[:echoed]),
            best=tuple(max(map(float, top.values())) if top else None for top in tops[:echoed]),
            offsets=tuple(map(int, offsets[:echoed])),
            end=int(offsets[echoed]) if generated else int(offsets[-1]) + len(tokens[-1]),
            prompt_tokens=counted,
        )
    except (LookupError, TypeError, ValueError, AttributeError):
        raise UnansweredError("the server's answer has no log-probabilities of the prompt (echo with logprobs)") from None
