"""The docs describe the names, parameters, fields and exceptions of the package."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
from typing import Any

import msgspec
import pytest
from django.db import connection, models
from django.db.models.expressions import OrderBy
from django.dispatch import Signal
from django.test import override_settings

import weavegraph_checkpoints
from tests.docs.markdown import DOCS, PAGES, names, page, rows
from weavegraph_checkpoints import (
    Checkpoint,
    CheckpointerError,
    SerializationError,
    StepQuery,
    checks,
    conf,
    exceptions,
    querysets,
    retries,
    serde,
    signals,
    triggers,
)
from weavegraph_checkpoints.checkpointer import (
    Checkpointer,
    DjangoCheckpointer,
    InMemoryCheckpointer,
)
from weavegraph_checkpoints.domain import query
from weavegraph_checkpoints.models import Keyframe, Label, Session, Step

Shape = list[tuple[str, Any, bool]]


def shape(function: Any) -> Shape:
    """Return the names and kinds of the parameters, and which have a default."""
    parameters = inspect.signature(function).parameters.values()
    return [
        (each.name, each.kind, each.default is not each.empty)
        for each in parameters
        if each.name != "self"
    ]


def written(heading: str) -> tuple[str, Shape]:
    """Return the name and the shape of a heading such as ``f(a, *, b=None)``."""
    name, parameters = re.fullmatch(r"`(\w+)(\(.*\))`", heading).groups()  # type: ignore[union-attr]
    namespace: dict[str, Any] = {"StepQuery": StepQuery}
    exec(f"def {name}{parameters}: ...", namespace)
    return name, shape(namespace[name])


def public_methods(cls: type) -> dict[str, Any]:
    return {
        name: member
        for name, member in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_")
    }


SIGNATURES = dict(
    written(heading) for heading in page("service").headings if re.match(r"`\w+\(", heading)
)
ASYNC = {
    name: method
    for name, method in public_methods(DjangoCheckpointer).items()
    if inspect.iscoroutinefunction(method)
}


def test_every_public_name_is_in_the_reference() -> None:
    reference = page("data-types").text + page("service").text + page("errors").text
    for name in weavegraph_checkpoints.__all__:
        assert re.search(rf"`{name}\b|^#+ {name}$", reference, re.MULTILINE), name


def test_every_method_is_documented_with_its_parameters() -> None:
    methods = public_methods(DjangoCheckpointer)
    assert set(methods) - set(ASYNC) == set(SIGNATURES) - {"DjangoCheckpointer"}
    for name in set(methods) - set(ASYNC):
        assert shape(methods[name]) == SIGNATURES[name], name
    assert shape(DjangoCheckpointer.__init__) == SIGNATURES["DjangoCheckpointer"]


def test_every_async_twin_is_documented_and_has_the_same_parameters() -> None:
    twins = set(names(page("service").section("Async twins").split("See")[0]))
    assert twins == set(ASYNC)
    assert set(ASYNC) <= page("async").code
    for name, method in ASYNC.items():
        assert shape(method) == shape(getattr(DjangoCheckpointer, name.removeprefix("a")))


@pytest.mark.parametrize("cls", [Checkpointer, InMemoryCheckpointer])
def test_the_three_operations(cls: type) -> None:
    section = page("service").section("In memory, for tests")
    described = [written(f"`{code}`") for code in names(section) if re.match(r"\w+\(\w*\)", code)]
    operations = {name: parameters for name, parameters in described if name[0].islower()}
    assert {name: shape(method) for name, method in public_methods(cls).items()} == operations


def test_every_error_is_documented_with_its_attributes() -> None:
    errors = {
        name: cls
        for name, cls in vars(exceptions).items()
        if inspect.isclass(cls) and issubclass(cls, CheckpointerError) and name[0] != "_"
    }
    section = page("errors").section("Exceptions of the app")
    documented = {names(first)[0]: " ".join(rest) for first, *rest in rows(section)}
    assert set(documented) == set(errors)
    for name, cls in errors.items():
        if "__init__" in vars(cls) or cls.__base__.__name__ == "_InvalidValue":  # type: ignore[union-attr]
            for parameter, _kind, _default in shape(cls.__init__):
                assert parameter in names(documented[name]), (name, parameter)
    value_errors = re.search(r"([^|.]+) are `ValueError`s too", " ".join(section.split()))
    assert value_errors is not None
    assert set(names(value_errors.group(1))) == {
        name for name, cls in errors.items() if issubclass(cls, ValueError)
    }


def test_every_signal_is_documented_with_its_arguments() -> None:
    section = page("transactions").section("Signals")
    for name, value in vars(signals).items():
        if isinstance(value, Signal):
            assert f"`weavegraph_checkpoints.signals.{name}`" in section
            send = getattr(signals, f"send_{name}")
            for parameter, _kind, _default in shape(send):
                assert f"`{parameter}`" in section


def fields_of(cls: Any) -> tuple[str, ...]:
    if issubclass(cls, msgspec.Struct):
        return cls.__struct_fields__
    return tuple(field.name for field in dataclasses.fields(cls))


def test_every_value_is_documented_with_its_fields() -> None:
    values = page("data-types")
    scopes = {names(row[0])[0]: names(row[1]) for row in rows(values.section("ErrorScope"))}
    for name in weavegraph_checkpoints.__all__:
        cls = getattr(weavegraph_checkpoints, name)
        if not inspect.isclass(cls) or issubclass(cls, Exception) or cls is dict:
            continue
        if name in scopes:
            assert scopes.pop(name) == list(fields_of(cls))
        else:
            documented = [names(row[0])[0] for row in rows(values.section(name))]
            assert documented == list(fields_of(cls)), name
    assert scopes == {}


def test_the_limits_of_a_query() -> None:
    limit = next(rows(page("data-types").section("StepQuery")))
    assert f"{query.DEFAULT_LIMIT} when `None`" in limit[2]
    assert f"never more than {query.MAX_LIMIT} are" in limit[2]


@override_settings(WEAVEGRAPH_CHECKPOINTS={})
def test_every_setting_is_documented_with_its_default() -> None:
    settings = page("settings")
    documented = {names(key)[0]: names(default)[0] for key, _type, default in rows(settings.prose)}
    assert set(documented) == set(conf.READERS)
    assert {name for name in settings.headings if name.isupper()} == set(conf.READERS)
    for name, read in conf.READERS.items():
        default = eval(documented[name], {})
        assert read() == default


def test_every_check_is_documented() -> None:
    source = inspect.getsource(checks)
    ids = set(re.findall(r"\b[EW]\d{3}\b", source))
    assert len(ids) > 5
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            for keyword in node.keywords:
                check_id = ast.unparse(keyword.value)[-5:-1]
                if keyword.arg == "id" and check_id in ids:
                    assert check_id[0] == {"Error": "E", "Warning": "W"}[node.func.id]
    documented = page("checks")
    assert {name for name in documented.headings if re.fullmatch(r"[EW]\d+", name)} == ids
    listed = [names(row[0])[0] for row in rows(documented.prose)]
    assert listed == [f"weavegraph_checkpoints.{check_id}" for check_id in sorted(ids)]
    for each in PAGES:
        assert set(re.findall(r"\b[EW]\d{3}\b", each.prose)) <= ids, each.name


def test_the_minimum_of_mariadb() -> None:
    minimum = ".".join(map(str, checks.MIN_MARIADB_VERSION))
    for each in PAGES:
        for version in re.findall(r"MariaDB (?:\| )?(\d+\.\d+)", each.prose):
            assert version == minimum, each.name


@pytest.mark.parametrize("model", [Session, Step, Keyframe])
def test_every_column_is_documented(model: type[models.Model]) -> None:
    section = page("schema").section(model.__name__)
    documented = [names(row[0])[0] for row in rows(section)]
    assert documented == [field.column for field in model._meta.concrete_fields]
    nullable = [names(row[0])[0] for row in rows(section) if row[1].endswith(", null")]
    assert nullable == [field.column for field in model._meta.concrete_fields if field.null]


def columns_of(model: type[models.Model], index: models.Index) -> list[str]:
    """Return the columns of an index, of fields or of expressions, with ``-`` if descending."""
    return [
        f"{'-' if order else ''}{model._meta.get_field(name).column}"
        for name, order in index.fields_orders
    ] or [
        f"-{each.expression.name}" if isinstance(each, OrderBy) else each.name  # type: ignore[attr-defined]
        for each in index.expressions
    ]


def test_every_index_is_documented() -> None:
    documented = {
        names(row[1])[0]: [
            f"-{column}" if f"`{column}` descending" in row[2] else column
            for column in names(row[2].partition("; only where")[0])
        ]
        for row in rows(page("schema").section("Indexes"))
        if "`" in row[1]
    }
    indexes = {
        index.name: columns_of(model, index)
        for model in (Session, Step, Label)
        for index in model._meta.indexes
    }
    unique = {
        constraint.name: columns
        for model, columns in (
            (Step, ["session_id", "step"]),
            (Keyframe, ["session_id", "root_id", "id"]),
            (Label, ["session_id", "key"]),
        )
        for constraint in model._meta.constraints
    }
    assert documented == indexes | unique


def test_the_names_of_the_triggers_are_documented() -> None:
    vendors = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MariaDB"}
    section = page("schema").section("The snapshot trigger")
    tables = section.split("| | implementation |")[1]
    (made,) = (row[1] for row in rows(tables) if row[0] == vendors[connection.vendor])
    documented = {name.rpartition("…")[2] for name in names(made) if "…" in name}
    app = Step._meta.app_label
    found = {
        trigger.name.removeprefix(app).removeprefix("_step")
        for trigger in triggers.definitions(connection)
    }
    assert {name.removeprefix("_step").removeprefix("_snapshot") for name in documented} == {
        name.removeprefix("_snapshot") for name in found
    }


def test_the_functions_of_triggers_are_documented() -> None:
    section = page("schema").section("The snapshot trigger")
    documented = {
        code.partition("(")[0]
        for row in rows(section.split("for manual use:")[1])
        for code in [*names(row[0]), *re.findall(r"`(Problem)\(", row[1])]
    }
    assert documented == set(triggers.__all__)


def test_the_querysets_are_documented() -> None:
    documented: dict[str, set[str]] = {"Label": set(), "Session": set(), "Step": set()}
    for row in rows(page("models").section("Queries")):
        for manager in names(row[0]):
            found = {code.partition("(")[0] for code in names(row[1])}
            documented[manager.removesuffix(".objects")] |= found
    own = {
        "Label": vars(querysets.LabelQuerySet),
        "Session": vars(querysets.SessionQuerySet),
        "Step": vars(querysets.StepQuerySet),
    }
    assert documented == {
        model: {name for name in members if name[0] != "_"} for model, members in own.items()
    }


def test_what_is_tried_again() -> None:
    section = page("transactions").section("Retries")
    codes = {code for row in rows(section) for code in re.findall(r"\b[0-9P]{4,5}\b", row[1])}
    assert codes == retries._SQLSTATES | {str(code) for code in retries._MARIADB_CODES}
    assert retries.MAX_RETRIES == 3
    assert "up to three times" in section
    assert f"`{retries.logger.name}`" in section


def test_the_example_of_the_persisted_json() -> None:
    (block,) = (block for block in page("json").blocks if block.comment == "checkpoint")
    document = json.loads(block.text)
    assert json.loads(serde.dumps(serde.loads(block.text))) == document
    assert list(document) == [field.name for field in dataclasses.fields(Checkpoint)]
    table = {names(row[0])[0]: row[2] for row in rows(page("json").section("A checkpoint"))}
    assert set(table) == set(document)
    for field, missing in table.items():
        rest = json.dumps({key: value for key, value in document.items() if key != field})
        if missing == "no":
            with pytest.raises(SerializationError, match=re.escape(f"$.{field}")):
                serde.loads(rest)
        else:
            serde.loads(rest)


def test_the_functions_of_serde_are_documented() -> None:
    for row in rows(page("json").prose):
        name, parameters = written(row[0])
        assert [each[0] for each in shape(getattr(serde, name))][: len(parameters)] == [
            each[0] for each in parameters
        ]


def test_every_module_that_the_docs_import_from_exists() -> None:
    for each in DOCS:
        for module in re.findall(r"`(weavegraph_checkpoints(?:\.[a-z_]+)+)`", each.prose):
            parent, _, name = module.rpartition(".")
            __import__(parent)
            try:
                __import__(module)
            except ImportError:
                assert hasattr(__import__(parent, fromlist=[name]), name), module
