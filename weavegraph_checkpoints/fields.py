"""Model fields that behave the same on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.operations.base import Operation
from django.db.models.fields.json import KeyTransform, KeyTransformIsNull
from django.utils.translation import gettext_lazy as _

from weavegraph_checkpoints import serde
from weavegraph_checkpoints.domain.labels import MAX_LABEL_KEY_LENGTH, is_label_key
from weavegraph_checkpoints.domain.limits import MAX_SESSION_ID_LENGTH, is_owner


def validate_session_id(value: str) -> None:
    """Raise ``ValidationError`` for text that is not a valid session id or owner."""
    if not is_owner(value):
        raise ValidationError(
            _("Use up to 255 characters, without null characters and lone surrogates."),
            code="invalid_session_id",
        )


def validate_label_key(value: str) -> None:
    """Raise ``ValidationError`` for text that is not a valid key of a label."""
    if not is_label_key(value):
        raise ValidationError(
            _("Use 1 to 63 of A-Z a-z 0-9 _ . -, of which the first is a letter or digit."),
            code="invalid_label_key",
        )


class SessionIdField(models.CharField):  # type: ignore[type-arg]
    """Up to 255 characters, compared byte for byte and sorted by code point.

    On MariaDB the collation is ``utf8mb4_nopad_bin`` (under ``utf8mb4_bin``, ``"a"``
    equals ``"a "``), on PostgreSQL ``C``, on SQLite ``BINARY``.
    """

    description = _("Session id (up to 255 characters)")
    default_validators = [validate_session_id]
    length = MAX_SESSION_ID_LENGTH

    _COLLATIONS = {
        "mysql": "utf8mb4_nopad_bin",
        "postgresql": "C",
        "sqlite": "BINARY",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["max_length"] = self.length
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        del kwargs["max_length"]
        return name, path, args, kwargs

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        # For this spelling of the type, Django creates no _like index, which the collation C
        # does not need.
        if connection.vendor == "postgresql":
            return f"character varying({self.length})"
        return super().db_type(connection)

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        parameters = super().db_parameters(connection)
        parameters["collation"] = self._COLLATIONS.get(connection.vendor)
        return parameters

    def formfield(self, *args: Any, **kwargs: Any) -> Any:
        return super().formfield(*args, **{"strip": False, **kwargs})


class LabelKeyField(SessionIdField):
    """The key of a label: 1 to 63 ASCII characters, compared as session ids are."""

    description = _("Key of a label (up to 63 characters)")
    default_validators = [validate_label_key]
    length = MAX_LABEL_KEY_LENGTH


class TimestampField(models.DateTimeField):  # type: ignore[type-arg]
    """A ``DateTimeField`` whose microseconds survive ``dumpdata``.

    Django's serializers truncate a ``datetime`` to milliseconds, but not text. In migrations
    it is a ``DateTimeField``.
    """

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.DateTimeField", args, kwargs

    def value_from_object(self, obj: models.Model) -> Any:
        """Return the value as text, for serializers and ``model_to_dict``."""
        value = super().value_from_object(obj)
        return None if value is None else self.value_to_string(obj)

    def value_to_string(self, obj: models.Model) -> str:
        """Return the value in ISO 8601 with microseconds."""
        return str(super().value_from_object(obj).isoformat())


class StateField(models.JSONField):
    """A JSON document that is read back exactly as it was saved.

    Types and digits of numbers, U+0000 and deep nesting are preserved: PostgreSQL stores
    ``json`` (read as text), MariaDB ``longtext`` and SQLite ``text``, without validity checks
    in the database. Lookups by key path (exact, ``in``, comparisons, ``isnull``) work. A row
    that the database cannot parse (PostgreSQL: U+0000; MariaDB: more than 31 levels) behaves
    as if it had no keys. Not supported: whole-document exact, ``contains``, text lookups,
    ``distinct()``, ``order_by()`` and ``union()``.
    """

    description = _("Exact JSON")

    _TYPES = {"mysql": "longtext", "postgresql": "json", "sqlite": "text"}

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        return self._TYPES.get(connection.vendor) or super().db_type(connection)

    def db_check(self, connection: BaseDatabaseWrapper) -> None:
        return None

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        parameters = super().db_parameters(connection)
        if connection.vendor == "mysql":
            parameters["collation"] = "utf8mb4_bin"
        return parameters

    def select_format(self, compiler: Any, sql: str, params: Any) -> tuple[str, Any]:
        if compiler.connection.vendor == "postgresql":
            return f"({sql})::text", params
        return sql, params

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        if isinstance(expression, KeyTransform):
            return super().from_db_value(value, expression, connection)
        # For raw() and RETURNING, psycopg has already parsed the json, exactly.
        return serde.loads_json(value) if isinstance(value, str) else value

    def get_db_prep_value(
        self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False
    ) -> str:
        return serde.dumps_json(value)

    def get_transform(self, name: str) -> Any:
        transform = super(models.JSONField, self).get_transform(name)
        return transform or _StateKeyTransformFactory(name)


class StateKeyTransform(KeyTransform):
    """The value of a key of a state, in SQL that fails for no row."""

    # \u0000 after an odd number of backslashes is U+0000; after an even number it is plain text.
    # E'' has the same meaning whatever standard_conforming_strings is.
    _GUARDS = {
        "postgresql": r"""(CASE
            WHEN strpos({0}::text, E'\\u0000') = 0
              OR {0}::text !~ E'(^|[^\\\\])(\\\\\\\\)*\\\\u0000'
            THEN {0}::jsonb END)""",
        "mysql": "(CASE WHEN JSON_VALID({0}) THEN {0} END)",
        "sqlite": "(CASE WHEN JSON_VALID({0}) THEN {0} END)",
    }

    def preprocess_lhs(self, compiler: Any, connection: BaseDatabaseWrapper) -> Any:
        column, params, key_transforms = super().preprocess_lhs(compiler, connection)
        guard = self._GUARDS[connection.vendor]
        repeated = tuple(params) * guard.count("{0}")
        return guard.format(column), repeated, key_transforms

    def as_mysql(self, compiler: Any, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        column, params, keys = self.preprocess_lhs(compiler, connection)
        return f"JSON_EXTRACT({column}, %s)", (*params, _json_path(keys))

    def as_sqlite(
        self, compiler: Any, connection: BaseDatabaseWrapper, **extra_context: Any
    ) -> tuple[str, Any]:
        column, params, keys = self.preprocess_lhs(compiler, connection)
        kind = f"JSON_TYPE({column}, %s)"
        return (
            f"(CASE WHEN {kind} IN ('false', 'null', 'true') THEN {kind}"
            f" ELSE JSON_EXTRACT({column}, %s) END)",
            (*params, _json_path(keys)) * 3,
        )


class StateKeyIsNull(KeyTransformIsNull):
    """The ``isnull`` lookup of a key of a state."""

    def as_sqlite(self, compiler: Any, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        column, params, keys = self.lhs.preprocess_lhs(compiler, connection)
        condition = "IS NULL" if self.rhs else "IS NOT NULL"
        return f"JSON_TYPE({column}, %s) {condition}", (*params, _json_path(keys))


StateKeyTransform.register_lookup(StateKeyIsNull)


def _json_path(keys: list[str]) -> str:
    """Return the JSON path of keys, without escapes: states are stored without them."""
    return "$" + "".join(
        f"[{int(key)}]" if key.isdecimal() else f".{json.dumps(key, ensure_ascii=False)}"
        for key in keys
    )


class _StateKeyTransformFactory:
    def __init__(self, key_name: str) -> None:
        self.key_name = key_name

    def __call__(self, *args: Any, **kwargs: Any) -> StateKeyTransform:
        return StateKeyTransform(self.key_name, *args, **kwargs)


class CompressWithLz4(Operation):
    """Compress a column with lz4 if PostgreSQL supports it.

    A save of prose takes half the time that it takes with the default, pglz.
    """

    reversible = True
    reduces_to_sql = True

    def __init__(self, model_name: str, name: str) -> None:
        self.model_name = model_name
        self.name = name

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Do nothing: the model state does not change."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        self._set(app_label, schema_editor, to_state, "lz4")

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        self._set(app_label, schema_editor, to_state, "DEFAULT")

    def _set(self, app_label: str, schema_editor: Any, state: Any, method: str) -> None:
        connection = schema_editor.connection
        model = state.apps.get_model(app_label, self.model_name)
        if not router.allow_migrate_model(connection.alias, model):
            return
        if connection.vendor == "postgresql" and _supports_lz4(connection):
            quote = connection.ops.quote_name
            column = model._meta.get_field(self.name).column
            schema_editor.execute(
                f"ALTER TABLE {quote(model._meta.db_table)} ALTER COLUMN {quote(column)}"
                f" SET COMPRESSION {method}",
                params=None,
            )

    def references_model(self, name: str, app_label: str) -> bool:
        return name.lower() == self.model_name.lower()

    def describe(self) -> str:
        return f"Compress {self.model_name}.{self.name} with lz4 if it is supported"

    @property
    def migration_name_fragment(self) -> str:
        return f"{self.model_name}_{self.name}_lz4".lower()


def _supports_lz4(connection: BaseDatabaseWrapper) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 'lz4' = ANY (enumvals) FROM pg_settings"
            " WHERE name = 'default_toast_compression'"
        )
        return bool(cursor.fetchone() == (True,))
