"""States whose keyframes or changes are damaged: the error names session, step and path."""

from __future__ import annotations

import pytest
from django.db import connection

from tests.long_histories import BAD_STEP, DAMAGES, Damage, get_chain, save_long_history
from weavegraph_checkpoints import SerializationError, StepQuery, serde
from weavegraph_checkpoints.backends import get_backend
from weavegraph_checkpoints.backends.history import read_state_json
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Keyframe, Step

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("changes")]


def test_a_long_history_has_deltas_on_links() -> None:
    history = save_long_history("a")
    assert len(get_chain("a", BAD_STEP)) > 2
    assert Keyframe.objects.count() > 5
    for checkpoint in history:
        state = serde.dumps_state(checkpoint.state)
        assert read_state_json(get_backend(connection), "a", checkpoint.step, None) == state


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_every_read_names_the_place(damage: Damage) -> None:
    history = save_long_history("a", range(1, BAD_STEP + 1))
    damage.apply("a")
    checkpointer, step = DjangoCheckpointer(), Step.objects.get(session="a", step=BAD_STEP)
    reads = [
        lambda: checkpointer.load("a", BAD_STEP),
        lambda: checkpointer.load_latest("a"),
        lambda: checkpointer.query_steps("a", StepQuery(limit=1)),
        lambda: read_state_json(get_backend(connection), "a", BAD_STEP, None),
        step.whole_state,
    ]
    for read in reads:
        with pytest.raises(SerializationError) as caught:
            read()
        assert caught.value.message.startswith(f"session 'a', step {BAD_STEP}: ")
        assert damage.message in caught.value.message or read == step.whole_state
        assert caught.value.path.startswith(damage.path)
    first = history[0]
    assert checkpointer.load("a", first.step) == first
    checkpointer.save(history[-1])
    assert checkpointer.load("a", BAD_STEP) == history[-1]
