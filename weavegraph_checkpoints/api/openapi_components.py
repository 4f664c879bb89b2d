"""The JSON documents of the API as components of the OpenAPI schema, made by msgspec."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.utils import Direction, extend_schema_serializer
from msgspec import UNSET, Meta, Struct, UnsetType
from rest_framework import serializers

from weavegraph_checkpoints.domain import PageInfo
from weavegraph_checkpoints.domain.limits import MAX_SESSION_ID_LENGTH, MAX_STEP
from weavegraph_checkpoints.serde import CheckpointDocument

_REF = "#/components/schemas/Weavegraph{name}"

StepNumber = Annotated[int, Meta(ge=0, le=MAX_STEP)]
Url = Annotated[str, Meta(extra_json_schema={"format": "uri"})]

_FIELDS = [(field.name, field.type) for field in msgspec.structs.fields(CheckpointDocument)]
Checkpoint = msgspec.defstruct("Checkpoint", [("url", Url), *_FIELDS])
ListedCheckpoint = msgspec.defstruct(
    "ListedCheckpoint",
    [("url", Url), *((name, kind | UnsetType, UNSET) for name, kind in _FIELDS)],
)


class Fork(Struct):
    """The request body of a fork."""

    target: Annotated[
        str,
        Meta(
            pattern="^[^\\u0000]*$",
            min_length=1,
            max_length=MAX_SESSION_ID_LENGTH,
            description="The id of the new session.",
        ),
    ]
    at_step: Annotated[
        StepNumber | None, Meta(description="The last step to copy; all steps by default.")
    ] = None


class StepPage(Struct):
    """A page of steps, newest first."""

    checkpoints: tuple[ListedCheckpoint, ...]  # type: ignore[valid-type]
    page_info: PageInfo


class SavedCheckpoint(Struct):
    """The checkpoint that was saved."""

    session_id: str
    step: StepNumber
    url: Url


class Operation(Struct):
    """An operation of RFC 6902."""

    op: Literal["add", "remove", "replace", "move"]
    path: str
    from_: str | UnsetType = msgspec.field(name="from", default=UNSET)
    value: Annotated[Any, Meta(description="Any JSON value.")] = UNSET


class Difference(Struct):
    """The RFC 6902 patch that turns the state at `from` into the state at `to`."""

    from_: StepNumber = msgspec.field(name="from")
    to: StepNumber
    patch: tuple[Operation, ...]


class Error(Struct, kw_only=True):
    """An error."""

    code: Annotated[str, Meta(description="The kind of error, for programs.")]
    detail: Annotated[str, Meta(description="The message, for people.")]
    path: (
        Annotated[
            str,
            Meta(description="The parameter, or the field of the body (`$.state.messages`)."),
        ]
        | UnsetType
    ) = UNSET


class Conflict(Error, kw_only=True):
    """The last step is not the expected one."""

    expected: StepNumber
    actual: StepNumber


class DocumentSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """A placeholder for a document, as drf-spectacular takes only serializers."""

    document: ClassVar[type[Struct]]


@cache
def as_serializer(document: type[Struct]) -> type[DocumentSerializer]:
    """Return the serializer class that drf-spectacular renders as the schema of a document."""
    members = {"document": document, "__module__": __name__}
    serializer = type(f"{document.__name__}Serializer", (DocumentSerializer,), members)
    # drf-spectacular would describe the response of an action named "list" as an array.
    return extend_schema_serializer(many=False)(serializer)


class DocumentExtension(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Let msgspec describe the documents."""

    target_class = DocumentSerializer
    match_subclasses = True

    def get_name(self, auto_schema: AutoSchema, direction: Direction) -> str:
        name: str = self.target.document.__name__
        return name

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        """Return the schema of a document, and register those that it refers to.

        The latter are prefixed, so that they do not collide with components of the project.
        """
        document = self.target.document
        _, components = msgspec.json.schema_components([document], ref_template=_REF)
        schema: dict[str, Any] = _to_openapi(components.pop(document.__name__))
        for name, each in components.items():
            component = ResolvedComponent(  # type: ignore[no-untyped-call]
                name=f"Weavegraph{name}",
                type=ResolvedComponent.SCHEMA,
                schema=_to_openapi(each),
                object=name,
            )
            auto_schema.registry.register_on_missing(component)
        return schema


def _to_openapi(schema: Any) -> Any:
    """Return a JSON Schema as OpenAPI 3.0 expects it."""
    if isinstance(schema, list):
        return [_to_openapi(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: _to_openapi(value) for key, value in schema.items() if key != "title"}
    if {"type": "null"} in schema.get("anyOf", []):
        (other,) = (each for each in schema.pop("anyOf") if each != {"type": "null"})
        schema.update(other, nullable=True)
    if "$ref" in schema and len(schema) > 1:  # OpenAPI 3.0 ignores what is next to a $ref.
        schema["allOf"] = [{"$ref": schema.pop("$ref")}]
    return schema
