"""The docs describe exactly the options of each command."""

from __future__ import annotations

import inspect
import re

import pytest
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand

from tests.docs.markdown import names, page, rows
from weavegraph_checkpoints.health import Finding

PLACES = {
    "check_checkpoints": "health",
    "checkpoint_stats": "health",
    "compact_checkpoints": "long-histories",
    "export_weavegraph": "interchange",
    "import_weavegraph": "interchange",
    "prune_checkpoints": "retention",
}


def options(command: BaseCommand) -> set[str]:
    """Return the options of a command that ``BaseCommand`` does not have."""

    def of(each: BaseCommand) -> set[str]:
        parser = each.create_parser("manage.py", "command")
        return {option for action in parser._actions for option in action.option_strings}

    return of(command) - of(BaseCommand())


def test_every_command_has_its_place() -> None:
    ours = {name for name, app in get_commands().items() if app == "weavegraph_checkpoints"}
    assert ours == set(PLACES)


@pytest.mark.parametrize("name", sorted(PLACES))
def test_options_are_those_of_the_docs(name: str) -> None:
    section = page(PLACES[name]).section(f"`{name}`")
    documented = {option for cells in rows(section) for option in names(cells[0])}
    assert documented == options(load_command_class("weavegraph_checkpoints", name))


def test_every_problem_of_the_health_check_is_explained() -> None:
    documented = {
        problem
        for cells in rows(page("health").section("What it finds"))
        for problem in names(cells[0])
    }
    assert documented == set(re.findall(r"``([a-z-]+)``", inspect.getsource(Finding)))
