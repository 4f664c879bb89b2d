"""Forks a process that saves, while another thread uses what it remembers."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading

import django

django.setup()

from weavegraph_checkpoints.backends import chains, keyframes  # noqa: E402

TIMEOUT_SECONDS = 30


def fork_and_print_id() -> None:
    """Print an id that a new keyframe gets in a forked process."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    signal.alarm(TIMEOUT_SECONDS)
    known = chains.memory.get("default", "session")
    sys.stdout.write(f"{keyframes.generate_root_id()} {known.newest}\n")
    sys.stdout.flush()
    os._exit(0)


def main() -> None:
    """Fork while another thread holds the lock."""
    random.seed(1)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with chains.memory._lock:
            held.set()
            done.wait(2 * TIMEOUT_SECONDS)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    for _ in range(2):
        fork_and_print_id()
    done.set()
    thread.join()


if __name__ == "__main__":
    main()
