from __future__ import annotations

import pytest

from weavegraph_checkpoints.serde.deltas import ChainState, Storage, plan

KB = 1024
LARGE = 100 * KB


def decide(chain: ChainState, state_bytes: int = LARGE, delta_bytes: int | None = 500) -> Storage:
    return plan(chain, state_bytes=state_bytes, delta_bytes=delta_bytes, changes_from=4096)


CHAIN = ChainState(exists=True, links=3, chain_bytes=LARGE)


@pytest.mark.parametrize(
    ("chain", "state_bytes", "delta_bytes", "storage"),
    [
        (ChainState(), 4095, None, Storage.WHOLE),
        (ChainState(), 4096, None, Storage.ROOT),
        (CHAIN, 4095, 300, Storage.WHOLE),
        (CHAIN, 4096, 300, Storage.DELTA),
        (CHAIN, LARGE, None, Storage.ROOT),
        (CHAIN, LARGE, 4095, Storage.DELTA),
        (CHAIN, LARGE, 50 * KB, Storage.DELTA),
        (CHAIN, LARGE, 50 * KB + 1, Storage.ROOT),
    ],
)
def test_a_state_is_stored(
    chain: ChainState, state_bytes: int, delta_bytes: int | None, storage: Storage
) -> None:
    assert decide(chain, state_bytes, delta_bytes) is storage


def test_none_stores_every_state_whole() -> None:
    for chain in (ChainState(), CHAIN):
        storage = plan(chain, state_bytes=LARGE, delta_bytes=300, changes_from=None)
        assert storage is Storage.WHOLE


def test_0_stores_every_state_as_changes() -> None:
    assert plan(ChainState(), state_bytes=100, delta_bytes=None, changes_from=0) is Storage.ROOT
    assert plan(CHAIN, state_bytes=100, delta_bytes=50, changes_from=0) is Storage.DELTA


def test_a_delta_that_has_doubled_since_the_first_makes_a_link() -> None:
    chain = CHAIN.after(Storage.DELTA, 3000)
    assert decide(chain, delta_bytes=5999) is Storage.DELTA
    assert decide(chain, delta_bytes=6000) is Storage.LINK
    chain = chain.after(Storage.DELTA, 5999).after(Storage.LINK, 6000)
    assert (chain.links, chain.chain_bytes) == (4, LARGE + 6000)
    assert decide(chain, delta_bytes=20_000) is Storage.DELTA


def test_a_chain_that_is_too_long_or_too_large_makes_a_root() -> None:
    for chain in (
        ChainState(exists=True, links=12, first_delta_bytes=500),
        ChainState(exists=True, chain_bytes=141 * KB + 1, first_delta_bytes=500),
    ):
        assert decide(chain, delta_bytes=4096) is Storage.ROOT
        assert decide(chain, delta_bytes=4095) is Storage.DELTA
    chain = ChainState(exists=True, links=11, chain_bytes=141 * KB, first_delta_bytes=500)
    assert decide(chain, delta_bytes=4096) is Storage.LINK


@pytest.mark.parametrize(
    ("state_bytes", "links"),
    [(9 * KB, 4), (12 * KB, 5), (120 * KB, 14), (1488 * KB, 128), (100 * 1024 * KB, 128)],
)
def test_the_links_of_a_chain_are_bounded_by_the_size_of_its_state(
    state_bytes: int, links: int
) -> None:
    for count, storage in ((links - 1, Storage.LINK), (links, Storage.ROOT)):
        chain = ChainState(exists=True, links=count, first_delta_bytes=500)
        assert decide(chain, state_bytes, delta_bytes=4200) is storage


def run(deltas: list[int], chain: ChainState | None = None) -> tuple[list[Storage], ChainState]:
    """Save states whose deltas, if there is a chain, have these lengths."""
    chain = chain or ChainState()
    stored = []
    for delta_bytes in deltas:
        storage = decide(chain, delta_bytes=delta_bytes if chain.exists else None)
        stored.append(storage)
        written = delta_bytes if storage in (Storage.DELTA, Storage.LINK) else LARGE
        chain = chain.after(storage, written)
    return stored, chain


def test_rewritten_states_are_whole_for_longer_and_longer() -> None:
    stored, _chain = run([LARGE] * 300)
    pauses = [
        len(part)
        for part in "".join("r" if storage is Storage.ROOT else "w" for storage in stored).split(
            "r"
        )
    ]
    assert pauses[:3] == [0, 0, 4]
    assert pauses[3:8] == [8, 16, 32, 64, 64]
    assert set(stored) == {Storage.ROOT, Storage.WHOLE}


def test_a_root_that_serves_another_step_ends_the_pauses() -> None:
    stored, chain = run([LARGE] * 6)
    assert stored == [Storage.ROOT] * 2 + [Storage.WHOLE] * 4
    stored, chain = run([LARGE, 500, LARGE, LARGE, LARGE], chain)
    assert stored == [Storage.ROOT, Storage.DELTA, Storage.ROOT, Storage.ROOT, Storage.WHOLE]
    assert chain.pause_left == 3


def test_a_small_state_changes_nothing() -> None:
    assert CHAIN.after(Storage.WHOLE, 100) == CHAIN
