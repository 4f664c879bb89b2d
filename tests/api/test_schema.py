"""The OpenAPI schema: valid, complete, and every response conforms to it."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema
import pytest
from django import urls
from django.core.management import call_command
from django.test import Client
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.validation import validate_schema
from hypothesis import given
from rest_framework import serializers
from rest_framework.generics import RetrieveAPIView

from tests.api.calls import CALLS, Call
from tests.api.clients import create_client
from tests.builders import save_history
from tests.strategies import checkpoints
from weavegraph_checkpoints import serde
from weavegraph_checkpoints.api import exceptions
from weavegraph_checkpoints.api.event_feed import STEP_COLUMNS
from weavegraph_checkpoints.api.openapi_events import EXAMPLE
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.limits import MAX_STEP

OPERATIONS = {
    "list_sessions",
    "load_session",
    "update_session",
    "delete_session",
    "load_latest",
    "stream_events",
    "fork_session",
    "diff_steps",
    "list_steps",
    "load_step",
    "save_step",
}


@cache
def schema() -> Any:
    """Generate the schema without warnings."""
    GENERATOR_STATS.reset()
    made = SchemaGenerator().get_schema(request=None, public=True)
    assert not GENERATOR_STATS, GENERATOR_STATS
    return json.loads(json.dumps(made))


def operations() -> dict[str, Any]:
    return {
        operation["operationId"].removeprefix("weavegraph_"): operation
        for path in schema()["paths"].values()
        for operation in path.values()
    }


def validator(component: dict[str, Any]) -> jsonschema.Draft202012Validator:
    """Return a validator for a part of the schema."""
    whole = {**component, "components": schema()["components"]}
    return jsonschema.Draft202012Validator(_without_openapi(whole))


def _without_openapi(part: Any) -> Any:
    """Return JSON Schema: ``nullable`` exists only in OpenAPI 3.0."""
    if isinstance(part, list):
        return [_without_openapi(each) for each in part]
    if not isinstance(part, dict):
        return part
    plain = {key: _without_openapi(value) for key, value in part.items() if key != "nullable"}
    return {"anyOf": [plain, {"type": "null"}]} if part.get("nullable") is True else plain


def test_it_is_valid_without_a_warning() -> None:
    validate_schema(schema())
    assert schema()["openapi"].startswith("3.")


def test_the_spectacular_command_reports_no_warning(tmp_path: Any) -> None:
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(tmp_path / "schema"))


class SessionSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """A serializer of the project, as are those below."""

    status = serializers.ChoiceField(["open", "closed"])
    op = serializers.ChoiceField(["add", "drop"])


class ErrorSerializer(serializers.Serializer):  # type: ignore[type-arg]
    scope = serializers.ChoiceField(["read", "write"])


class CheckpointSerializer(serializers.Serializer):  # type: ignore[type-arg]
    error = ErrorSerializer()
    session = SessionSerializer()


class ProjectView(RetrieveAPIView[Any]):
    """Return a checkpoint of the project."""

    serializer_class = CheckpointSerializer
    schema = AutoSchema()


def test_it_changes_no_name_of_the_project() -> None:
    own = [urls.path("session/", ProjectView.as_view())]
    ours = urls.path("api/", urls.include("weavegraph_checkpoints.api.urls"))
    GENERATOR_STATS.reset()
    alone, both = (
        SchemaGenerator(patterns=patterns).get_schema(request=None, public=True)
        for patterns in (own, [*own, ours])
    )
    assert not GENERATOR_STATS, GENERATOR_STATS
    assert set(alone["components"]["schemas"]) == {
        "Checkpoint",
        "Error",
        "OpEnum",
        "ScopeEnum",
        "Session",
        "StatusEnum",
    }
    assert both["paths"]["/session/"] == alone["paths"]["/session/"]
    for name, component in both["components"]["schemas"].items():
        if name in alone["components"]["schemas"]:
            assert component == alone["components"]["schemas"][name]
        else:
            assert name.startswith(("Weavegraph", "PaginatedWeavegraph"))


def test_every_call_is_described() -> None:
    assert set(operations()) == OPERATIONS
    for operation in operations().values():
        assert operation["summary"]
        assert operation["description"]
        assert operation["tags"] == ["weavegraph checkpoints"]
        assert operation["operationId"].startswith("weavegraph_")


def test_every_parameter_is_described() -> None:
    names = {
        name: {each["name"] for each in operation.get("parameters", [])}
        for name, operation in operations().items()
    }
    assert names == {
        "list_sessions": {
            "id",
            "search",
            "status",
            "owner",
            "label",
            "updated_after",
            "updated_before",
            "ordering",
            "limit",
            "offset",
        },
        "load_session": {"session"},
        "update_session": {"session"},
        "delete_session": {"session"},
        "load_latest": {"session", "If-None-Match"},
        "stream_events": {"session", "after_step", "poll", "Last-Event-ID"},
        "fork_session": {"session"},
        "diff_steps": {"session", "from", "to"},
        "list_steps": {
            "session",
            "limit",
            "offset",
            "min_step",
            "max_step",
            "ran_node",
            "skipped_node",
            "fields",
        },
        "load_step": {"session", "step"},
        "save_step": {"session", "step", "expected_last_step"},
    }
    for operation in operations().values():
        for parameter in operation.get("parameters", []):
            assert parameter["description"], parameter


def test_every_error_of_each_call_is_described_with_an_example() -> None:
    for name, operation in operations().items():
        statuses = {int(each) for each in operation["responses"]}
        assert {400, 401, 403, 406, 429} <= statuses, name
        assert (404 in statuses) == (name != "list_sessions")
        assert ({413, 415} <= statuses) == (name in ("fork_session", "save_step", "update_session"))
        conflicts = ("fork_session", "save_step", "delete_session")
        assert (409 in statuses) == (name in conflicts)
        for status, answer in operation["responses"].items():
            if status in ("204", "304"):
                assert "content" not in answer
                continue
            is_stream = (name, status) == ("stream_events", "200")
            (media_type,) = answer["content"]
            assert media_type == ("text/event-stream" if is_stream else "application/json")
            content = answer["content"][media_type]
            check = validator(content["schema"])
            assert content["examples"], (name, status)
            for example in content["examples"].values():
                check.validate(example["value"])
        if "requestBody" in operation:
            content = operation["requestBody"]["content"]["application/json"]
            for example in content["examples"].values():
                validator(content["schema"]).validate(example["value"])


def test_the_example_of_a_save_can_be_saved(db: Any) -> None:
    from weavegraph_checkpoints.api.openapi_examples import EXAMPLE_CHECKPOINT

    saved = serde.loads_step(json.dumps(EXAMPLE_CHECKPOINT), "run-1", 1)
    DjangoCheckpointer().save(saved)


def test_every_error_code_has_an_example() -> None:
    codes = {
        each.default_code
        for each in vars(exceptions).values()
        if isinstance(each, type) and issubclass(each, exceptions.ApiError)
    }
    shown = {
        example["value"]["code"]
        for operation in operations().values()
        for status, answer in operation["responses"].items()
        if int(status) >= 400
        for example in answer["content"]["application/json"]["examples"].values()
    }
    assert codes - {"error"} <= shown


@given(checkpoints())
def test_every_checkpoint_conforms_to_the_schema(checkpoint: Any) -> None:
    document = json.loads(serde.dumps(checkpoint), parse_int=_small, parse_float=lambda text: 0.5)
    check = validator(schema()["components"]["schemas"]["WeavegraphCheckpointToSave"])
    check.validate(document)
    stored = validator(schema()["components"]["schemas"]["WeavegraphCheckpoint"])
    stored.validate({**document, "url": "https://example.com/"})


def _small(digits: str) -> int:
    """Return an integer that the validator can print."""
    return int(digits) if len(digits) < 25 else 0


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_every_response_conforms_to_the_schema(call: Call, db: Any) -> None:
    save_history(DjangoCheckpointer(owner="ann"), "run", [1, 2])
    for client in (create_client(is_superuser=True), create_client(), Client()):
        answer = call.by(client)
        operation = _operation_of(call)
        described = operation["responses"][str(answer.status_code)]
        if not answer.streaming and answer.content:
            check = validator(described["content"][answer["Content-Type"]]["schema"])
            check.validate(answer.json())


def _operation_of(call: Call) -> Any:
    for path, methods in schema()["paths"].items():
        parts = f"/api/sessions/{call.path.partition('?')[0]}".split("/")
        wanted = path.split("/")
        if len(parts) == len(wanted) and all(
            a == b or b.startswith("{") for a, b in zip(parts, wanted, strict=True)
        ):
            return methods[call.method]
    raise AssertionError(call)


def test_the_example_of_a_stream() -> None:
    data = json.loads(EXAMPLE["data"])
    assert list(data) == ["session_id", "url", *STEP_COLUMNS]
    assert str(data["step"]) == EXAMPLE["id"]


def test_integer_parameters_have_the_ranges_of_the_domain() -> None:
    for operation in operations().values():
        for parameter in operation.get("parameters", []):
            if parameter["schema"].get("type") == "integer":
                lowest = -1 if parameter["name"] in ("after_step", "Last-Event-ID") else 0
                assert parameter["schema"]["minimum"] == lowest
                assert parameter["schema"]["maximum"] == MAX_STEP


@pytest.mark.parametrize("name", ["id", "search", "owner", "ran_node", "skipped_node"])
@pytest.mark.parametrize(("text", "is_valid"), [("", True), ("plan\n", True), ("a\0", False)])
def test_text_parameters_allow_any_text_without_nul(name: str, text: str, is_valid: bool) -> None:
    parameters = [*operations()["list_sessions"]["parameters"]]
    parameters += operations()["list_steps"]["parameters"]
    schemas = [each["schema"] for each in parameters if each["name"] == name]
    assert [validator(each).is_valid(text) for each in schemas] == [is_valid]
