"""The JSON of the answers, as components of the OpenAPI schema."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import Direction, extend_schema_serializer
from rest_framework import serializers

from weavegraph_checkpoints.api.parameters import FIELDS
from weavegraph_checkpoints.domain.limits import (
    MAX_CHANNEL_VERSION,
    MAX_CONCURRENCY_LIMIT,
    MAX_COUNTER,
    MAX_SESSION_ID_LENGTH,
    MAX_STEP,
)

Schema = dict[str, Any]

ANY: Schema = {"description": "Any JSON value."}
TEXT: Schema = {"type": "string"}
STORABLE: Schema = {"type": "string", "pattern": "^[^\\u0000]*$"}
INSTANT: Schema = {"type": "string", "format": "date-time"}
URL: Schema = {"type": "string", "format": "uri"}


def integer(maximum: int, **members: Any) -> Schema:
    """Return the schema of an integer from 0."""
    return {"type": "integer", "minimum": 0, "maximum": maximum, **members}


def array(items: Schema, **members: Any) -> Schema:
    """Return the schema of an array."""
    return {"type": "array", "items": items, **members}


def obj(properties: Schema, optional: tuple[str, ...] = (), **members: Any) -> Schema:
    """Return the schema of an object that has all its properties but the optional ones."""
    required = [name for name in properties if name not in optional]
    needs = {"required": required} if required else {}
    return {"type": "object", "properties": properties, **needs, **members}


STEP = integer(MAX_STEP)
VERSION = integer(MAX_CHANNEL_VERSION)
SESSION_ID: Schema = {**STORABLE, "minLength": 1, "maxLength": MAX_SESSION_ID_LENGTH}
NODES = array(
    STORABLE, description="`Start`, `End` or `Custom:<name>`; other text is read as a name."
)

_MESSAGE = obj({"role": TEXT, "content": TEXT})
_ERROR: Schema = obj(
    {
        "message": TEXT,
        "cause": {"type": "object", "description": "The error that caused it, of the same shape."},
        "details": ANY,
    },
    optional=("cause", "details"),
)
_SCOPE: Schema = {
    "oneOf": [
        obj(
            {
                "scope": {"type": "string", "enum": ["node"]},
                "kind": TEXT,
                "step": integer(MAX_COUNTER),
            }
        ),
        obj({"scope": {"type": "string", "enum": ["scheduler"]}, "step": integer(MAX_COUNTER)}),
        obj(
            {
                "scope": {"type": "string", "enum": ["runner"]},
                "session": TEXT,
                "step": integer(MAX_COUNTER),
            }
        ),
        obj({"scope": {"type": "string", "enum": ["app"]}}),
    ]
}
_EVENT = obj(
    {
        "when": {**INSTANT, "description": "To the nanosecond and beyond."},
        "scope": _SCOPE,
        "error": _ERROR,
        "tags": array(TEXT),
        "context": ANY,
    },
    optional=("when", "scope", "tags", "context"),
)
STATE = obj(
    {
        "messages": obj({"version": VERSION, "items": array(_MESSAGE)}, optional=("items",)),
        "extra": obj(
            {"version": VERSION, "map": {"type": "object", "additionalProperties": {}}},
            optional=("map",),
        ),
        "errors": obj({"version": VERSION, "items": array(_EVENT)}, optional=("items",)),
    },
    optional=("errors",),
    description="The versioned state. Its values come back as they went in.",
)
_VERSIONS_SEEN: Schema = {
    "type": "object",
    "description": "Per node the version of each channel that it saw; the keys are any text.",
    "additionalProperties": {
        "type": "object",
        "additionalProperties": integer(MAX_COUNTER),
    },
}
_SAVED: Schema = {
    "state": STATE,
    "frontier": {**NODES, "description": f"The nodes to resume from. {NODES['description']}"},
    "versions_seen": _VERSIONS_SEEN,
    "concurrency_limit": integer(
        MAX_CONCURRENCY_LIMIT, description="Kept by the session from its first checkpoint on."
    ),
    "created_at": INSTANT,
    "ran_nodes": NODES,
    "skipped_nodes": NODES,
    "updated_channels": array(STORABLE),
}
_MAY_BE_MISSING = tuple(name for name in _SAVED if name not in ("state", "frontier"))
_PLACED = {"url": URL, "session_id": SESSION_ID, "step": STEP, **_SAVED}


class Described(serializers.Serializer):  # type: ignore[type-arg]
    """Stands for a component whose JSON schema is written here."""

    component: ClassVar[str]
    json_schema: ClassVar[Schema]


def described(component: str, json_schema: Schema) -> type[Described]:
    """Return what stands for a component."""
    members = {"component": component, "json_schema": json_schema, "__module__": __name__}
    made = type(f"{component}Document", (Described,), members)
    # Of a list, too, this is the whole answer.
    return extend_schema_serializer(many=False)(made)


class DescribedExtension(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Puts the components into the schema."""

    target_class = Described
    match_subclasses = True

    def get_name(self, auto_schema: AutoSchema, direction: Direction) -> str:
        name: str = self.target.component
        return name

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> Schema:
        schema: Schema = self.target.json_schema
        return schema


CheckpointDocument = described("Checkpoint", obj(_PLACED))
CheckpointToSave = described(
    "CheckpointToSave",
    obj(
        _SAVED,
        optional=_MAY_BE_MISSING,
        description="`session_id` and `step` may be there too: then they are those of the "
        "address. Other members are ignored.",
    ),
)
StepPage = described(
    "StepPage",
    obj(
        {
            "checkpoints": array(
                obj(_PLACED, optional=FIELDS), description="Newest first; with `fields`, less."
            ),
            "page_info": obj(
                {
                    "total_count": integer(MAX_STEP),
                    "page_size": integer(1000),
                    "offset": integer(MAX_STEP),
                    "has_next_page": {"type": "boolean"},
                }
            ),
        }
    ),
)
Saved = described("Saved", obj({"session_id": SESSION_ID, "step": STEP, "url": URL}))
Difference = described(
    "Difference",
    obj(
        {
            "from": STEP,
            "to": STEP,
            "patch": array(
                obj(
                    {
                        "op": {"type": "string", "enum": ["add", "remove", "replace", "move"]},
                        "path": TEXT,
                        "from": TEXT,
                        "value": ANY,
                    },
                    optional=("from", "value"),
                ),
                description="RFC 6902: made of the state at `from`, the state at `to`.",
            ),
        }
    ),
)
_ERROR_MEMBERS: Schema = {
    "code": {"type": "string", "description": "What went wrong, for programs."},
    "detail": {"type": "string", "description": "What went wrong, for people."},
    "path": {
        "type": "string",
        "description": "The parameter, or the place in the body (`$.state.messages`).",
    },
}
Error = described("Error", obj(_ERROR_MEMBERS, optional=("path",)))
Conflict = described(
    "Conflict",
    obj(
        {**_ERROR_MEMBERS, "expected": STEP, "actual": STEP},
        optional=("path",),
    ),
)
