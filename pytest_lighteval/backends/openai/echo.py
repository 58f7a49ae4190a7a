"""Log-probabilities of a prompt's own tokens, as the completions API gives them under `echo` and `logprobs`: asked, read and cut in two."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_lighteval.backends.openai.client import Client, UnansweredError

_SAME_TOKEN = 0.5
"""Nats by which two values of one token may differ: many times the rounding of bfloat16, and a fraction of what is between two tokens."""
_CONTEXTS = ("One, two,", "Once upon")
_WORDS = (" the", " of", " and", "!")
"""Single tokens in nearly every vocabulary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """The tokens of a prompt with their log-probabilities, each field one entry a token."""

    tokens: tuple[str, ...]
    """As the server writes them; the pieces of a character that needs several tokens may be empty or a replacement character."""
    logprobs: tuple[float | None, ...]
    """None: nothing stands before it."""
    best: tuple[float | None, ...]
    """Log-probability of the likeliest token at that place."""
    offsets: tuple[int, ...]
    """Where each token begins in the text, by the server's count."""
    end: int
    """Where the prompt's last token ends, likewise."""
    prompt_tokens: int
    """Tokens of the prompt as the server counts them, which may be one more: some do not echo the beginning token."""

    def count_behind(self, text: str, border: int) -> int | None:
        """How many tokens begin at or behind character `border` of the prompt's text. None: their texts do not tell.

        Offsets may be shifted by special tokens that the server writes or leaves out, so that they are read from the end; the tokens' own
        texts must then spell what stands there. A token that spans the border belongs to the context.
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
            raise UnansweredError("the server gives no log-probability of the first token, as nothing stands before it")
        if any(logprob is None or not math.isfinite(logprob) for logprob in logprobs):
            raise UnansweredError("the server gives no finite log-probability of a token")
        known = [logprob for logprob in logprobs if logprob is not None]
        greedy = all(top is not None and logprob >= top for logprob, top in zip(known, best, strict=True))
        return math.fsum(known), greedy


def ask_echo(client: Client, model: str, prompt: str | Sequence[int]) -> Echo:
    """Have a prompt (text, or token ids) scored by the server. Raises UnansweredError, also where its answer holds no such scores."""
    # one new token, which is thrown away: several servers take 0 for "no limit"
    payload = {"model": model, "prompt": _plain(prompt), "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
    return _read(client.post("/completions", payload))


def count_prompt_tokens(client: Client, model: str, prompt: str | Sequence[int]) -> int | None:
    """How many tokens the server makes of a prompt. None: it does not say. Raises UnansweredError."""
    payload = {"model": model, "prompt": _plain(prompt), "max_tokens": 1, "temperature": 0}
    usage = client.post("/completions", payload).get("usage")
    count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return count if isinstance(count, int) else None


def is_aligned(client: Client, model: str) -> bool:
    """Whether echoed log-probabilities are those of the tokens they stand at. Raises UnansweredError.

    Texts that differ in their last token alone are echoed. How likely that token is must depend on which one it is; how likely those before
    it are must not, and neither must the likeliest token at any place, which only what stands before it can know. A server is known whose
    values are of the place behind for models without a beginning token (llama-cpp-python 0.3.36). Where no two such texts are found, as
    the words are no single tokens, nothing is known against it.
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
    """A token's text, where a server writes it as it stands in the vocabulary: with a sign for a space."""
    return token.replace("\u2581", " ").replace("\u0120", " ")


def _spread(values: Sequence[float | None]) -> float:
    """How far apart they are. Nothing stands before a first token, which has no value."""
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
        raise UnansweredError("the server's answer holds no log-probabilities of the prompt (echo with logprobs)") from None
