"""The request and response bodies, as components of the OpenAPI schema made by msgspec."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.utils import Direction, extend_schema_serializer
from msgspec import UNSET, Meta, Struct, UnsetType

from weavegraph_checkpoints import serde
from weavegraph_checkpoints.domain import PageInfo
from weavegraph_checkpoints.domain.labels import MAX_LABEL_VALUE_LENGTH
from weavegraph_checkpoints.domain.limits import MAX_SESSION_ID_LENGTH, MAX_STEP

_REF = "#/components/schemas/Weavegraph{name}"

StepNumber = Annotated[int, Meta(ge=0, le=MAX_STEP)]
Url = Annotated[str, Meta(extra_json_schema={"format": "uri"})]

LabelValue = Annotated[str, Meta(pattern="^[^\\u0000]*$", max_length=MAX_LABEL_VALUE_LENGTH)]

Labels = dict[str, LabelValue | None]

_LABELS = (
    "Labels to set, by key; null removes one. Others are kept. Null instead of all removes all."
)


# drf-spectacular would describe every response of an action named "list" as an array.
@extend_schema_serializer(many=False)
class Document(Struct, frozen=True, kw_only=True):
    """A request or response body."""


class CheckpointToSave(serde.CheckpointToSave, Document, frozen=True, kw_only=True):
    __doc__ = serde.CheckpointToSave.__doc__


_FIELDS = [(field.name, field.type) for field in msgspec.structs.fields(serde.CheckpointDocument)]
Checkpoint = msgspec.defstruct("Checkpoint", [("url", Url), *_FIELDS], bases=(Document,))
ListedCheckpoint = msgspec.defstruct(
    "ListedCheckpoint",
    [("url", Url), *((name, kind | UnsetType, UNSET) for name, kind in _FIELDS)],
)


class Fork(Document, frozen=True, kw_only=True):
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


class SessionPatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change of a session: a merge patch of RFC 7396, in which null removes a label."""

    labels: Annotated[Labels, Meta(description=_LABELS)] | UnsetType | None = UNSET


class StepPage(Document, frozen=True, kw_only=True):
    """A page of steps, newest first."""

    checkpoints: tuple[ListedCheckpoint, ...]  # type: ignore[valid-type]
    page_info: PageInfo


class SavedCheckpoint(Document, frozen=True, kw_only=True):
    """The checkpoint that was saved."""

    session_id: str
    step: StepNumber
    url: Url


class Operation(Struct):
    """An operation of RFC 6902."""

    op: Literal["add", "remove", "replace"]
    path: str
    value: Annotated[Any, Meta(description="Any JSON value.")] = UNSET


class Difference(Document, frozen=True, kw_only=True):
    """The RFC 6902 patch that turns the state at `from` into the state at `to`."""

    from_: StepNumber = msgspec.field(name="from")
    to: StepNumber
    patch: tuple[Operation, ...]


class Error(Document, frozen=True, kw_only=True):
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


class Conflict(Error, frozen=True, kw_only=True):
    """The last step is not the expected one."""

    expected: StepNumber
    actual: StepNumber


class DocumentExtension(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Let msgspec describe the documents, with names that a project does not use."""

    target_class = Document
    match_subclasses = True

    def get_name(self, auto_schema: AutoSchema, direction: Direction) -> str:
        return f"Weavegraph{self.target.__name__}"

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        """Return the schema of a document, and register those that it refers to."""
        _, components = msgspec.json.schema_components([self.target], ref_template=_REF)
        schema: dict[str, Any] = _to_openapi(components.pop(self.target.__name__))
        for name, each in components.items():
            component = ResolvedComponent(  # type: ignore[no-untyped-call]
                name=f"Weavegraph{name}",
                type=ResolvedComponent.SCHEMA,
                schema=_to_openapi(each),
                object=name,
            )
            auto_schema.registry.register_on_missing(component)
        return schema


def build_inline_schema(kind: type[Struct]) -> dict[str, Any]:
    """Return the schema of a document that refers to no other, for a request body.

    drf-spectacular would call the component of a PATCH another name.
    """
    _, components = msgspec.json.schema_components([kind])
    schema: dict[str, Any] = _to_openapi(components[kind.__name__])
    return {key: value for key, value in schema.items() if key != "required" or value}


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
    if "enum" in schema:  # As a member of its own, it gets no name that a project might use.
        schema["allOf"] = [{"type": "string", "enum": schema.pop("enum")}]
    if "$ref" in schema and len(schema) > 1:  # OpenAPI 3.0 ignores what is next to a $ref.
        schema["allOf"] = [{"$ref": schema.pop("$ref")}]
    return schema
