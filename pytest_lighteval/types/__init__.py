"""The values that several packages share, and the protocol of a backend.

All are frozen: no value here computes a score, reads a file or knows pytest.
A document's way: row -> `Doc` -> `Request`s -> `Response`s -> `DocumentScore` -> `TaskResult` -> `Verdict`.

Chapters: `doc`, `task` (what is asked), `guest` (tasks of other harnesses), `model` (requests, responses, backends), `grade` (answers
that are run or read), `score`, `verdict`, `run`, `history` (runs over time), `check` (what the linter finds).
"""

from __future__ import annotations

from pytest_lighteval.types.check import (
    CheckReport,
    Example,
    Finding,
    Severity,
    TaskCheck,
)
from pytest_lighteval.types.doc import Doc, Row
from pytest_lighteval.types.grade import (
    Answer,
    Grade,
    Grader,
    GraderKind,
    Mark,
)
from pytest_lighteval.types.guest import Guest, GuestDocument, GuestDocuments, GuestSettings
from pytest_lighteval.types.history import (
    HistoryPoint,
    HistoryRow,
    PairedDifference,
)
from pytest_lighteval.types.model import (
    Backend,
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    Message,
    PerplexityRequest,
    PerplexityResponse,
    Prompt,
    Repeatable,
    Request,
    RequestKind,
    Response,
    StructuredRequest,
    Tokenization,
)
from pytest_lighteval.types.run import (
    Attempt,
    Calibration,
    RunReport,
    results_that_count,
)
from pytest_lighteval.types.score import (
    ESTIMATES,
    Ask,
    CorpusMetric,
    Detail,
    DocumentScore,
    Metric,
    MetricResult,
    SampleValue,
    Share,
    SoftScore,
    TaskResult,
    shown_number,
)
from pytest_lighteval.types.task import (
    FewShotsSelect,
    GateSpec,
    JudgeSpec,
    PromptTemplate,
    Task,
    TaskCode,
    TaskKey,
)
from pytest_lighteval.types.verdict import (
    Comparison,
    Flip,
    PairedVerdict,
    SoftVerdict,
    Verdict,
)

__all__ = [
    "ESTIMATES",
    "Answer",
    "Ask",
    "Attempt",
    "Backend",
    "Calibration",
    "CheckReport",
    "Comparison",
    "CorpusMetric",
    "Detail",
    "Doc",
    "DocumentScore",
    "Example",
    "FewShotsSelect",
    "Finding",
    "Flip",
    "GateSpec",
    "GenerateRequest",
    "GenerateResponse",
    "Grade",
    "Grader",
    "GraderKind",
    "Guest",
    "GuestDocument",
    "GuestDocuments",
    "GuestSettings",
    "HistoryPoint",
    "HistoryRow",
    "JudgeSpec",
    "LoglikelihoodRequest",
    "LoglikelihoodResponse",
    "Mark",
    "Message",
    "Metric",
    "MetricResult",
    "PairedDifference",
    "PairedVerdict",
    "PerplexityRequest",
    "PerplexityResponse",
    "Prompt",
    "PromptTemplate",
    "Repeatable",
    "Request",
    "RequestKind",
    "Response",
    "Row",
    "RunReport",
    "SampleValue",
    "Severity",
    "Share",
    "SoftScore",
    "SoftVerdict",
    "StructuredRequest",
    "Task",
    "TaskCheck",
    "TaskCode",
    "TaskKey",
    "TaskResult",
    "Tokenization",
    "Verdict",
    "results_that_count",
    "shown_number",
]
