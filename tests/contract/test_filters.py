"""``ran_node`` and ``skipped_node`` find exactly one node; any query is that of a model."""

from __future__ import annotations

import json

import pytest
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import strategies
from tests.assertions import assert_same
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import Checkpoint, NodeKind, PageInfo, StepQuery, StepQueryResult
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Step

NAMES = [
    *["", " ", "  ", "\t", "\n", "\r\n", "\x01", "\x1f", "\x7f", "\x85", "\u2028", "\ufeff"],
    *["plan", "Plan", "PLAN", "plan ", " plan", "pla", "plan1", "aplan", "planplan"],
    *["%", "%%", "pl%n", "plan%", "%plan", "_", "pl_n", "_lan", "*", "?", "pl.n", ".*", "[p]lan"],
    *[
        "'",
        '"',
        "''",
        "pl'an",
        'pl"an',
        "\\",
        "\\\\",
        "pl\\an",
        '\\"',
        "\\u0070lan",
        "`",
        "$",
        "$.",
    ],
    *[":", "a:b", "Custom", "Custom:", "Custom:plan", "Custom:Custom:plan", 'Custom("plan")'],
    *["Start", "End", "start", "end", "Custom:Start", "Custom:End", "Start ", "START"],
    *[
        "plán",
        "pla\u0301n",
        "plan\u0301",
        "ß",
        "ss",
        "ẞ",
        "ı",
        "i",
        "I",
        "İ",
        "ﬁ",
        "fi",
        "Å",
        "A\u030a",
    ],
    *["日本", "日", "العربية", "😀", "😁", "👩‍👩‍👧", "\uffff", "\U0010ffff"],
    *["null", "true", "1", "1.0", "[]", "{}", '["plan"]', "plan,next", 'plan","next', "/", "a/b"],
    *["x" * 254, "x" * 255, "é" * 255, "😀" * 255],
]
KINDS = [NodeKind.START, NodeKind.END, *map(NodeKind.custom, NAMES)]


def page_of(history: list[Checkpoint], query: StepQuery) -> StepQueryResult:
    """Answer a query from a list, in plain Python."""
    matching = [
        checkpoint
        for checkpoint in sorted(history, key=lambda checkpoint: checkpoint.step, reverse=True)
        if (query.min_step is None or checkpoint.step >= query.min_step)
        and (query.max_step is None or checkpoint.step <= query.max_step)
        and (query.ran_node is None or query.ran_node in checkpoint.ran_nodes)
        and (query.skipped_node is None or query.skipped_node in checkpoint.skipped_nodes)
    ]
    offset = query.offset or 0
    limit = 100 if query.limit is None else min(query.limit, 1000)
    page = matching[offset : offset + limit]
    return StepQueryResult(
        checkpoints=tuple(page),
        page_info=PageInfo(
            total_count=len(matching),
            page_size=len(page),
            offset=offset,
            has_next_page=offset + len(page) < len(matching),
        ),
    )


@pytest.fixture
def awkward(django: DjangoCheckpointer) -> list[Checkpoint]:
    """A history in which each awkward node ran once alone and was skipped once elsewhere."""
    assert len(set(KINDS)) == len(KINDS)
    history = [
        a_checkpoint(
            "awkward",
            step,
            ran_nodes=[node],
            skipped_nodes=[KINDS[step - 1], KINDS[step - 2]],
        )
        for step, node in enumerate(KINDS)
    ]
    for checkpoint in history:
        django.save(checkpoint)
    return history


def test_each_node_is_found_where_it_ran_and_nowhere_else(
    django: DjangoCheckpointer, awkward: list[Checkpoint]
) -> None:
    for step, node in enumerate(KINDS):
        query = StepQuery(ran_node=node)
        assert_same(django.query_steps("awkward", query), page_of(awkward, query))
        assert django.query_steps("awkward", query).checkpoints == (awkward[step],)


def test_each_node_is_found_where_it_was_skipped_and_nowhere_else(
    django: DjangoCheckpointer, awkward: list[Checkpoint]
) -> None:
    for node in KINDS:
        query = StepQuery(skipped_node=node)
        found = django.query_steps("awkward", query)
        assert found.page_info.total_count == 2
        assert_same(found, page_of(awkward, query))


def test_a_node_may_be_given_as_text(django: DjangoCheckpointer, awkward: list[Checkpoint]) -> None:
    for text in ("Start", "End", "Custom:Start", "plan", "Custom:plan", "Custom:Custom:plan"):
        found = django.query_steps("awkward", StepQuery(ran_node=text))
        assert [kept.ran_nodes for kept in found.checkpoints] == [(NodeKind.decode(text),)]


@pytest.mark.parametrize("name", ["pl", "lan", "p%", "____", "plan\n", "Custom", "%:%", "xx", "é"])
def test_a_node_that_never_ran_is_found_nowhere(django: DjangoCheckpointer, name: str) -> None:
    django.save(a_checkpoint(ran_nodes=["plan", "xxx"], skipped_nodes=["e\u0301"]))
    for query in (
        StepQuery(ran_node=NodeKind.custom(name)),
        StepQuery(skipped_node=NodeKind.custom(name)),
    ):
        assert django.query_steps("session", query).page_info.total_count == 0


def test_a_node_that_ran_twice_in_a_step_is_one_step(django: DjangoCheckpointer) -> None:
    django.save(a_checkpoint(ran_nodes=["plan", "act", "plan"]))
    assert django.query_steps("session", StepQuery(ran_node="plan")).page_info.total_count == 1


def test_both_filters_narrow_together(
    django: DjangoCheckpointer, awkward: list[Checkpoint]
) -> None:
    query = StepQuery(ran_node=KINDS[7], skipped_node=KINDS[6])
    assert django.query_steps("awkward", query).checkpoints == (awkward[7],)
    query = StepQuery(ran_node=KINDS[7], skipped_node=KINDS[7])
    assert django.query_steps("awkward", query).checkpoints == ()


FEW_NODES = st.sampled_from(["", "plan", "Plan", "plan ", "%", "Start", "Custom:Start", "😀"])


def queries(steps: st.SearchStrategy[int]) -> st.SearchStrategy[StepQuery]:
    small = st.none() | st.integers(0, 12) | st.sampled_from([1000, 2**63 - 1])
    return st.builds(
        StepQuery,
        limit=small,
        offset=small,
        min_step=st.none() | steps,
        max_step=st.none() | steps,
        ran_node=st.none() | FEW_NODES,
        skipped_node=st.none() | FEW_NODES,
    )


SOME_STEPS = st.integers(0, 15) | st.sampled_from([2**31, 2**63 - 2, 2**63 - 1])


@pytest.mark.django_db
@settings(max_examples=40)
@given(
    history=st.dictionaries(
        SOME_STEPS,
        st.tuples(st.lists(FEW_NODES, max_size=3), st.lists(FEW_NODES, max_size=3)),
        max_size=12,
    ),
    asked=st.lists(queries(SOME_STEPS), min_size=5, max_size=15),
)
def test_any_query_answers_as_a_model_does(
    history: dict[int, tuple[list[str], list[str]]], asked: list[StepQuery]
) -> None:
    checkpointer = DjangoCheckpointer()
    checkpointer.delete_session("session")
    saved = [
        a_checkpoint("session", step, ran_nodes=ran, skipped_nodes=skipped)
        for step, (ran, skipped) in history.items()
    ]
    for checkpoint in saved:
        checkpointer.save(checkpoint)
    for query in asked:
        assert_same(checkpointer.query_steps("session", query), page_of(saved, query))


@pytest.mark.django_db
@given(ran=strategies.nodes(), skipped=strategies.nodes(), asked=strategies.node_kinds())
def test_any_node_is_found_exactly(
    ran: tuple[NodeKind, ...], skipped: tuple[NodeKind, ...], asked: NodeKind
) -> None:
    checkpointer = DjangoCheckpointer()
    saved = [a_checkpoint(ran_nodes=ran, skipped_nodes=skipped)]
    checkpointer.save(saved[0])
    for node in {*ran, *skipped, asked}:
        for query in (StepQuery(ran_node=node), StepQuery(skipped_node=node)):
            assert_same(checkpointer.query_steps("session", query), page_of(saved, query))


def test_a_list_with_escapes_and_a_name_that_looks_like_two_nodes(
    django: DjangoCheckpointer,
) -> None:
    django.save(a_checkpoint(step=1, ran_nodes=["a", "b"]))
    django.save(a_checkpoint(step=2, ran_nodes=["c"]))
    ascii_json = json.dumps(["Custom:pl\u00e4n", "Custom:a\\b"])
    escaped = ascii_json.replace("pl", "\\u0070l")
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {Step._meta.db_table} SET ran_nodes = %s WHERE step = 2", [escaped])
    for node, steps in {
        NodeKind.custom('a","Custom:b'): [],
        NodeKind.custom("a"): [1],
        NodeKind.custom("pl\u00e4n"): [2],
        NodeKind.custom("a\\b"): [2],
        NodeKind.custom("a\\\\b"): [],
    }.items():
        page = django.query_steps("session", StepQuery(ran_node=node))
        assert (node, [found.step for found in page.checkpoints]) == (node, steps)
