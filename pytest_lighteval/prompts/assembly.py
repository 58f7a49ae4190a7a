"""Build the prompt of a document from its few-shot examples and itself: text, or the turns of a chat.

As in Lighteval v0.9.2, nothing is between system prompt and instruction, and an empty line is between examples. An example is its
query, directly followed by its first gold (which brings its own leading space). A task may ask for a system prompt that stands apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pytest_lighteval.errors import BackendError, PromptError
from pytest_lighteval.types import Doc, Message, Prompt


def build_prompt(
    doc: Doc,
    shots: Sequence[Doc] = (),
    *,
    system_prompt: str | None = None,
    system_prompt_apart: bool = False,
    use_chat_template: bool = False,
) -> Prompt:
    """Text, or turns of which the last is the user's.

    The instruction is written once: in the system turn if there is a system prompt, otherwise before the first query.
    With `system_prompt_apart` it is always before the first query; a system prompt is then a turn of its own, and in text an empty line
    follows it.
    Raises PromptError for an example without a gold, or a query that does not begin with its instruction.
    """
    if use_chat_template:
        return _turns(doc, shots, system_prompt, system_prompt_apart)
    parts = [_question(shot) + _target(shot) for shot in shots]
    separator = "\n\n" if system_prompt and system_prompt_apart else ""
    text = (system_prompt or "") + separator + doc.instruction + "\n\n".join([*parts, _question(doc)])
    return "" if text == "\n\n" else text


def truncate_few_shots(
    doc: Doc,
    shots: Sequence[Doc],
    *,
    count_tokens: Callable[[Prompt], int | None],
    max_length: int | None,
    generation_size: int | None = None,
    system_prompt: str | None = None,
    system_prompt_apart: bool = False,
    use_chat_template: bool = False,
) -> tuple[Doc, ...]:
    """The first of the examples: as many as fit into `max_length` tokens with the document and `generation_size` new tokens.

    Empty if even the document alone is too long. `count_tokens` gets turns if the prompt is turns. The length of choices is not
    counted (as in the reference). Raises BackendError if tokens cannot be counted.
    """
    if not shots:
        return ()
    if max_length is None:
        raise BackendError("few-shot examples cannot be cut to fit: the backend does not say how long a sequence may be")
    room = max_length - (generation_size or 0)
    for kept in range(len(shots), 0, -1):
        prompt = build_prompt(
            doc,
            shots[:kept],
            system_prompt=system_prompt,
            system_prompt_apart=system_prompt_apart,
            use_chat_template=use_chat_template,
        )
        tokens = count_tokens(prompt)
        if tokens is None:
            raise BackendError("few-shot examples cannot be cut to fit: the backend cannot count tokens")
        if tokens <= room:
            return tuple(shots[:kept])
    return ()


def _turns(doc: Doc, shots: Sequence[Doc], system_prompt: str | None, system_prompt_apart: bool) -> tuple[Message, ...]:
    turns = []
    for shot in shots:
        turns += [Message(role="user", content=_question(shot)), Message(role="assistant", content=_target(shot))]
    turns.append(Message(role="user", content=_question(doc)))
    if system_prompt is None or system_prompt_apart:
        system = () if system_prompt is None else (Message(role="system", content=system_prompt),)
        return (*system, Message(role="user", content=doc.instruction + turns[0].content), *turns[1:])
    return (Message(role="system", content=system_prompt + doc.instruction), *turns)


def _question(doc: Doc) -> str:
    if not doc.query.startswith(doc.instruction):
        raise PromptError(f"{doc.id}: the query does not begin with its instruction {doc.instruction[:40]!r}")
    return doc.query[len(doc.instruction) :]


def _target(doc: Doc) -> str:
    if not doc.gold:
        raise PromptError(f"{doc.id}: a document without a right answer cannot be a few-shot example")
    return doc.golds[0]
