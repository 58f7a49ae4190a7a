"""Log-likelihoods and perplexity through a server are those of the same model in this process, whatever the server shows of its tokens."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_lighteval.backends.accelerate import AccelerateBackend
from pytest_lighteval.backends.openai import OpenAIArguments, OpenAIBackend
from pytest_lighteval.backends.openai.client import Client
from pytest_lighteval.backends.openai.errors import UnansweredError
from pytest_lighteval.errors import BackendError, UnsupportedRequestError
from pytest_lighteval.testing import BackendConformance
from pytest_lighteval.types import Backend, GenerateRequest, LoglikelihoodRequest, LoglikelihoodResponse, Message, PerplexityRequest, Prompt
from tests.backends.openai.openai_server import Behaviour, Fault, TinyServer
from tests.backends.tiny import tiny_model, tiny_tokenizer

TOLERANCE = 1e-4
REQUESTS = [
    LoglikelihoodRequest(prompt="The capital of France is", choices=(" Paris", " London, a very long river in the east", " x")),
    LoglikelihoodRequest(prompt="Question: What colour is it?\nAnswer:", choices=(" green", " blue"), unconditioned_prompt="Answer:"),
    LoglikelihoodRequest(prompt="", choices=("Alone", "Together with others")),
    LoglikelihoodRequest(prompt="One, two, three,  ", choices=("four", "nine\n\n")),
    LoglikelihoodRequest(prompt="Grüße aus 東京 😀", choices=(" 日本", "👩‍👩‍👧", "naïve")),
    LoglikelihoodRequest(prompt="wor", choices=("ld", "d")),
]
TEXTS = ("The grass is green. The sky is blue.", "Grüße aus 東京 😀")


@functools.cache
def model() -> Any:
    """The one random llama, in 128 positions, of server and reference."""
    return tiny_model()


@functools.cache
def reference() -> AccelerateBackend:
    """The model in this process."""
    return AccelerateBackend.from_model(model(), tiny_tokenizer())


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The model's tokenizer as a folder."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


Serve = Callable[[Behaviour], TinyServer]
Connect = Callable[..., OpenAIBackend]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that behaves as told."""
    servers: list[TinyServer] = []

    def start(behaviour: Behaviour) -> TinyServer:
        servers.append(TinyServer(model(), tiny_tokenizer(), behaviour).__enter__())
        return servers[-1]

    yield start
    for server in servers:
        server.die()


def backend_of(server: TinyServer, **arguments: Any) -> OpenAIBackend:
    """A backend that asks the server, once a request."""
    return OpenAIBackend(OpenAIArguments(**{"base_url": server.url, "model": "tiny", "retries": 0, **arguments}))


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes backends, and closes them."""
    made: list[OpenAIBackend] = []

    def make(server: TinyServer, **arguments: Any) -> OpenAIBackend:
        made.append(backend_of(server, **arguments))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


def check_scores(answers: dict[int, LoglikelihoodResponse], requests: list[LoglikelihoodRequest]) -> None:
    """Each answer is the reference's."""
    expected = dict(reference().loglikelihood(requests))
    assert sorted(answers) == sorted(expected)
    for index, answer in answers.items():
        assert answer.error is None
        assert answer.logprobs == pytest.approx(expected[index].logprobs, abs=TOLERANCE)
        assert answer.greedy == expected[index].greedy
        assert answer.token_counts == expected[index].token_counts
        assert answer.unconditioned_logprobs == (
            None if expected[index].unconditioned_logprobs is None else pytest.approx(expected[index].unconditioned_logprobs, abs=TOLERANCE)
        )


class TestConformanceWithTokenIds(BackendConformance):
    """The protocol, on a server that takes the tokenizer's ids."""

    takes_ids = True

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls) -> Iterator[TinyServer]:
        """One server for all checks."""
        with TinyServer(model(), tiny_tokenizer(), Behaviour(takes_ids=cls.takes_ids)) as server:
            yield server

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, server: TinyServer, tokenizer_folder: str) -> Iterator[OpenAIBackend]:
        """A backend that knows the tokenizer and the length."""
        backend = backend_of(server, tokenizer=tokenizer_folder, max_length=128)
        yield backend
        backend.close()

    @pytest.fixture
    def new_backend(self, server: TinyServer) -> Callable[[], Backend]:
        """Another one, to be closed."""
        return lambda: backend_of(server)


class TestConformanceWithTexts(TestConformanceWithTokenIds):
    """The protocol, on a server that takes text alone."""

    takes_ids = False


@pytest.mark.parametrize(
    ("behaviour", "arguments"),
    [
        pytest.param(Behaviour(), {"tokenizer": True}, id="token ids"),
        pytest.param(Behaviour(takes_ids=False), {"tokenizer": True}, id="texts with a tokenizer"),
        pytest.param(Behaviour(), {"start_text": "</s>"}, id="texts without one"),
        pytest.param(Behaviour(spells=False), {"start_text": "</s>"}, id="pieces of characters are written as nothing"),
        pytest.param(Behaviour(most_logprobs=1), {"start_text": "</s>"}, id="one likely token alone"),
        pytest.param(Behaviour(lists_models=False, max_model_len=None), {"tokenizer": True}, id="no list of models"),
    ],
)
def test_scores_are_those_of_the_model_in_this_process(
    serve: Serve, connect: Connect, tokenizer_folder: str, behaviour: Behaviour, arguments: dict[str, Any]
) -> None:
    if arguments.get("tokenizer"):
        arguments = {"tokenizer": tokenizer_folder}
    backend = connect(serve(behaviour), **arguments)

    check_scores(dict(backend.loglikelihood(REQUESTS)), REQUESTS)
    rolling = dict(backend.perplexity([PerplexityRequest(text=text) for text in TEXTS]))
    expected = dict(reference().perplexity([PerplexityRequest(text=text) for text in TEXTS]))
    for index, answer in rolling.items():
        assert answer.error is None
        assert answer.logprob == pytest.approx(expected[index].logprob, abs=TOLERANCE)
        assert answer.token_count == expected[index].token_count


def test_a_beginning_token_that_the_server_adds_is_context(serve: Serve, connect: Connect) -> None:
    backend = connect(serve(Behaviour(adds_bos=True, takes_ids=False)))
    requests = [request for request in REQUESTS if request.prompt]

    answers = dict(backend.loglikelihood(requests))

    def begun(prompt: Prompt) -> str:
        return f"<s>{prompt}"

    check_scores(
        answers,
        [
            LoglikelihoodRequest(
                prompt=begun(request.prompt),
                choices=request.choices,
                unconditioned_prompt=None if request.unconditioned_prompt is None else begun(request.unconditioned_prompt),
            )
            for request in requests
        ],
    )


def test_an_empty_context_without_a_start_is_an_error_that_names_the_way_out(
    serve: Serve,
    connect: Connect,
) -> None:
    backend = connect(serve(Behaviour()))

    answers = dict(backend.loglikelihood([REQUESTS[2], REQUESTS[0]]))

    assert answers[0].error is not None
    assert "give tokenizer=, or start_text=" in answers[0].error
    assert answers[1].error is None
    assert "start_text=" in (dict(backend.perplexity([PerplexityRequest(text=TEXTS[0])]))[0].error or "")


def test_turns_are_rendered_by_the_tokenizer_to_be_scored(serve: Serve, connect: Connect, tokenizer_folder: str) -> None:
    turns = (Message(role="user", content="What colour is the grass?"),)
    requests = [LoglikelihoodRequest(prompt=turns, choices=("green", "blue"))]

    check_scores(dict(connect(serve(Behaviour()), tokenizer=tokenizer_folder).loglikelihood(requests)), requests)
    with pytest.raises(BackendError, match="choices after chat turns need tokenizer="):
        list(connect(serve(Behaviour())).loglikelihood(requests))


def test_a_long_prompt_is_cut_where_the_tokenizer_is_known_and_refused_where_it_is_not(
    serve: Serve, connect: Connect, tokenizer_folder: str
) -> None:
    long = LoglikelihoodRequest(prompt="one, two, " * 80, choices=(" three", " three, four"))
    server = serve(Behaviour())

    cut = dict(connect(server, tokenizer=tokenizer_folder).loglikelihood([long]))[0]
    refused = dict(connect(server).loglikelihood([long]))[0]

    assert cut.error is None
    # the server makes one new token, which needs a place, and the last token of the choice is fed too
    expected = dict(AccelerateBackend.from_model(model(), tiny_tokenizer(), max_length=126).loglikelihood([long]))[0]
    assert cut.truncated_tokens == expected.truncated_tokens > 0
    assert cut.logprobs == pytest.approx(expected.logprobs, abs=TOLERANCE)
    assert (refused.error or "").startswith("the server refuses it (status 400): this model's maximum context length is 128 tokens")


def test_a_long_text_is_scored_in_windows_of_what_the_server_takes(serve: Serve, connect: Connect, tokenizer_folder: str) -> None:
    text = PerplexityRequest(text=" ".join(f"{number} horses," for number in range(90)))

    answer = dict(connect(serve(Behaviour()), tokenizer=tokenizer_folder).perplexity([text]))[0]

    expected = dict(AccelerateBackend.from_model(model(), tiny_tokenizer(), max_length=126).perplexity([text]))[0]
    assert answer.token_count == expected.token_count > 128
    assert answer.logprob == pytest.approx(expected.logprob, abs=1e-3)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        pytest.param(
            Behaviour(echoes=False), "gives no log-probabilities of a prompt: the server refuses it (status 400): echo", id="no echo"
        ),
        pytest.param(Behaviour(has_completions=False), "has no completions API, which gives log-probabilities", id="chat alone"),
        pytest.param(Behaviour(shifts=True), "gives wrong log-probabilities of a prompt", id="of the place behind"),
        pytest.param(Behaviour(shifts=True, most_logprobs=1), "gives wrong log-probabilities", id="of the place behind, one likely token"),
        pytest.param(Behaviour(moves=1), "gives wrong log-probabilities of a prompt", id="one token early"),
        pytest.param(Behaviour(moves=-1), "gives wrong log-probabilities of a prompt", id="one token late"),
        pytest.param(Behaviour(counts=False), "the server's answer has no log-probabilities", id="tokens are not counted"),
    ],
)
def test_a_server_that_cannot_score_says_so_before_anything_is_scored(
    serve: Serve, connect: Connect, behaviour: Behaviour, reason: str
) -> None:
    server = serve(behaviour)
    backend = connect(server)

    for ask in (lambda: list(backend.loglikelihood(REQUESTS)), lambda: list(backend.perplexity([PerplexityRequest(text="a")]))):
        with pytest.raises(UnsupportedRequestError) as caught:
            ask()
        assert reason in str(caught.value)
    prompts = [payload.get("prompt") for payload in server.seen]
    assert not any("London" in prompt for prompt in prompts if isinstance(prompt, str))
    probes = len(prompts)
    with pytest.raises(UnsupportedRequestError):
        list(backend.loglikelihood(REQUESTS))
    assert len(server.seen) == probes


def test_an_outage_at_the_first_question_is_no_inability(serve: Serve, connect: Connect) -> None:
    server = serve(Behaviour())
    server.faults = [Fault(status=503, body="starting")] * 3
    backend = connect(server)

    with pytest.raises(BackendError, match="status 503: starting") as caught:
        list(backend.loglikelihood(REQUESTS[:1]))
    assert not isinstance(caught.value, UnsupportedRequestError)
    server.faults = []
    check_scores(dict(backend.loglikelihood(REQUESTS[:1])), REQUESTS[:1])


def test_an_outage_of_the_list_of_models_is_an_error_and_is_forgotten(
    serve: Serve, connect: Connect, tokenizer_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = connect(serve(Behaviour()), tokenizer=tokenizer_folder)

    def unanswered(client: Client, path: str) -> dict[str, Any]:
        raise UnansweredError("status 503: starting", is_outage=True)

    with monkeypatch.context() as patch:
        patch.setattr(Client, "get", unanswered)
        with pytest.raises(BackendError, match="status 503: starting"):
            list(backend.loglikelihood(REQUESTS[:1]))
    check_scores(dict(backend.loglikelihood(REQUESTS[:1])), REQUESTS[:1])
    assert backend.describe()["served"]["max_model_len"] == 128


@pytest.mark.parametrize("answered", [1, 2, 3])
def test_an_outage_among_the_first_questions_is_an_error_and_is_forgotten(serve: Serve, connect: Connect, answered: int) -> None:
    server = serve(Behaviour())
    server.faults = [*([Fault(passes=True)] * answered), Fault(status=500, body="boom")]
    backend = connect(server)

    with pytest.raises(BackendError, match="no answer after 1 try: status 500: boom") as caught:
        list(backend.loglikelihood(REQUESTS[:1]))
    assert not isinstance(caught.value, UnsupportedRequestError)
    check_scores(dict(backend.loglikelihood(REQUESTS[:1])), REQUESTS[:1])


def count_probes(server: TinyServer, connect: Connect, tokenizer_folder: str) -> int:
    """How many requests find out what the server can do."""
    backend = connect(server, tokenizer=tokenizer_folder)
    list(backend.loglikelihood(REQUESTS[:1]))
    first = len(server.seen)
    list(backend.loglikelihood(REQUESTS[:1]))
    return 2 * first - len(server.seen)


def test_an_outage_at_any_question_about_the_server_is_an_error_and_decides_nothing(
    serve: Serve, connect: Connect, tokenizer_folder: str
) -> None:
    server = serve(Behaviour())
    probes = count_probes(server, connect, tokenizer_folder)

    assert probes > 4
    for place in range(probes):
        server.faults = [*([Fault(passes=True)] * place), Fault(status=429, body="busy")]
        backend = connect(server, tokenizer=tokenizer_folder)
        with pytest.raises(BackendError, match="no answer after 1 try: status 429: busy") as caught:
            list(backend.loglikelihood(REQUESTS[:1]))
        assert not isinstance(caught.value, UnsupportedRequestError)
        check_scores(dict(backend.loglikelihood(REQUESTS[:1])), REQUESTS[:1])
        assert backend.describe()["prompts"] == "token ids"


def test_an_outage_that_ends_within_the_retries_goes_unnoticed(
    serve: Serve, connect: Connect, tokenizer_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_lighteval.backends.openai.client._FIRST_DELAY", 0.001)
    server = serve(Behaviour())
    probes = count_probes(server, connect, tokenizer_folder)

    for place in range(probes):
        faults = [Fault(status=status, body="busy") for status in (503, 503, 429, 429)]
        server.faults = [*([Fault(passes=True)] * place), *faults]
        backend = connect(server, tokenizer=tokenizer_folder, retries=5)
        check_scores(dict(backend.loglikelihood(REQUESTS[:1])), REQUESTS[:1])
        assert backend.describe()["prompts"] == "token ids"
        assert server.faults == []


def test_a_server_that_answers_500_to_what_it_cannot_do_is_one_that_cannot(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_lighteval.backends.openai.client._FIRST_DELAY", 0.001)
    server = serve(Behaviour())
    server.faults = [Fault(status=500, body="logits_all is off")] * 3

    with pytest.raises(UnsupportedRequestError, match="no answer after 3 tries: status 500: logits_all is off"):
        list(connect(server, retries=2).loglikelihood(REQUESTS[:1]))


def test_a_service_that_forbids_log_probabilities_cannot_score_and_one_that_forbids_everything_is_an_error(
    serve: Serve, connect: Connect
) -> None:
    server = serve(Behaviour())
    forbidden = Fault(status=403, body="You are not allowed to request logprobs from this model")
    server.faults = [forbidden]
    with pytest.raises(UnsupportedRequestError, match="status 403: You are not allowed to request logprobs"):
        list(connect(server).loglikelihood(REQUESTS[:1]))

    server.faults = [forbidden, forbidden]
    with pytest.raises(BackendError, match="/completions: status 403") as caught:
        list(connect(server).loglikelihood(REQUESTS[:1]))
    assert not isinstance(caught.value, UnsupportedRequestError)


def test_another_models_tokenizer_is_refused(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = Tokenizer(models.WordLevel({"<e>": 0, "<u>": 1}, unk_token="<u>"))
    letters.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=letters, eos_token="<e>", unk_token="<u>").save_pretrained(tmp_path)

    with pytest.raises(BackendError, match=r"tokenizer=.* is not that of 'tiny': it makes \d+ tokens of .*, the server \d+"):
        list(connect(serve(Behaviour()), tokenizer=str(tmp_path)).loglikelihood(REQUESTS[:1]))


def test_a_tokenizer_of_as_many_tokens_but_other_ids_is_refused(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = tiny_tokenizer()
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    ids = content["model"]["vocab"]
    plain = sorted(token for token in ids if not token.startswith("<"))
    content["model"]["vocab"] |= dict(zip(plain, (ids[token] for token in reversed(plain)), strict=True))
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.save_pretrained(tmp_path)

    for kind, request in (("loglikelihood", REQUESTS[0]), ("generate", GenerateRequest(prompt="One", max_new_tokens=1))):
        with pytest.raises(BackendError, match=r"tokenizer=.* is not that of 'tiny': the server reads its ids as "):
            list(getattr(connect(serve(Behaviour()), tokenizer=str(tmp_path)), kind)([request]))


def test_a_beginning_token_of_rendered_turns_is_not_put_in_front_twice(serve: Serve, connect: Connect, tokenizer_folder: str) -> None:
    turns = (Message(role="user", content="What colour is it?"),)
    backend = connect(serve(Behaviour(adds_bos=True, takes_ids=False)), tokenizer=tokenizer_folder, api="completions")
    choices = [LoglikelihoodRequest(prompt=turns, choices=(" green", " blue"))]
    texts = [GenerateRequest(prompt=turns, max_new_tokens=8)]

    check_scores(dict(backend.loglikelihood(choices)), choices)
    (answer,), (expected,) = (dict(one.generate(texts)).values() for one in (backend, reference()))
    assert answer.texts == expected.texts


def test_an_unknown_model_names_those_that_there_are(serve: Serve, connect: Connect) -> None:
    server = serve(Behaviour())
    backend = connect(server, model="tinny")

    with pytest.raises(BackendError, match=r"the server has no model 'tinny' \(did you mean 'tiny'\?\)"):
        list(backend.loglikelihood(REQUESTS[:1]))


def test_a_choice_that_fails_takes_its_request_with_it_and_no_other(serve: Serve, connect: Connect, tokenizer_folder: str) -> None:
    server = serve(Behaviour())
    backend = connect(server, tokenizer=tokenizer_folder, concurrency=1)
    list(backend.loglikelihood(REQUESTS[:1]))
    server.faults = [Fault(status=500, body="boom")]

    answers = dict(backend.loglikelihood([REQUESTS[1], REQUESTS[0]]))

    assert answers[0].error == "no answer after 1 try: status 500: boom"
    assert answers[0].logprobs == ()
    assert answers[1].error is None


def test_no_more_requests_are_open_than_asked_for(serve: Serve, connect: Connect, tokenizer_folder: str) -> None:
    for concurrency in (1, 3):
        server = serve(Behaviour())
        backend = connect(server, tokenizer=tokenizer_folder, concurrency=concurrency)
        list(backend.loglikelihood(REQUESTS))
        assert 1 <= server.at_once <= concurrency
