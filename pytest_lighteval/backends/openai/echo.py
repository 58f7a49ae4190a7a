"""Log-probabilities of a prompt's own tokens, as the completions API gives them under `echo` and `logprobs`: asked, read and cut in two."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_lighteval.backends.openai.client import Client, RefusedError, UnansweredError

__all__ = ["Echo", "ask_echo", "count_prompt_tokens", "is_aligned"]

_SAME_TOKEN = 0.5
"""Nats by which a token's log-probability may differ between being generated and being read: many times the rounding of bfloat16."""
_CANDIDATES = 5
"""Likely next tokens that are asked for, as many as OpenAI's API gives; where it refuses so many, one."""
_CHECKED = 2
"""As many of them are read back, of all prompts together."""


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


def is_aligned(client: Client, model: str, prompts: Sequence[str]) -> bool:
    """Whether echoed log-probabilities are those of the tokens they stand at. Raises UnansweredError.

    What the server would say next is read back to it: a token must be as likely in the prompt as it was behind it. A server is known that
    moves them by one place for models without a beginning token (llama-cpp-python 0.3.36). Prompt by prompt, until enough tokens were read
    back: few of the likely ones are read as one token again, and some servers name one alone. Where none is, nothing is known against it.
    """
    checked = misplaced = 0
    for prompt in prompts:
        candidates, before = _likely_next(client, model, prompt)
        for text, logprob in candidates:
            echo = ask_echo(client, model, prompt + text)
            if not text or "\ufffd" in text or echo.prompt_tokens != before + 1:
                continue
            if echo.tokens[-1] != text:
                misplaced += 1
                continue
            read = echo.logprobs[-1]
            if read is None or abs(read - logprob) > _SAME_TOKEN:
                return False
            checked += 1
            if checked == _CHECKED:
                return True
    return checked > 0 or misplaced == 0


def _likely_next(client: Client, model: str, prompt: str) -> tuple[list[tuple[str, float]], int]:
    """The likeliest next tokens with their log-probabilities, likeliest first, and how many tokens the server makes of the prompt.

    No tokens: it gives none behind a prompt. Raises UnansweredError.
    """
    for count in (_CANDIDATES, 1):
        payload = {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": count}
        try:
            answer = client.post("/completions", payload)
            candidates: dict[str, float] = answer["choices"][0]["logprobs"]["top_logprobs"][0]
            likely = [(str(text), float(logprob)) for text, logprob in candidates.items()]
            return sorted(likely, key=lambda candidate: -candidate[1]), int(answer["usage"]["prompt_tokens"])
        except RefusedError:
            continue
        except (LookupError, TypeError, ValueError, AttributeError):
            break
    return [], 0


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
