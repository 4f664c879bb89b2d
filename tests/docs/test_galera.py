"""``docs/scale-out-galera.md``: the documented settings are those of the tests."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import Any

from tests.docs.code_blocks import run_block
from tests.docs.markdown import page
from tests.servers.galera import GaleraNode, find_provider
from tests.torture.cluster import STRICT, WAITING_OPTIONS

PAGE = page("scale-out-galera")
OWN = {"wsrep_cluster_address", "wsrep_provider"}
"""What differs on every machine."""


def test_the_documented_options_are_those_of_the_tests() -> None:
    (block,) = [block for block in PAGE.blocks if "DATABASES = {" in block.text]
    namespace: dict[str, Any] = {}
    run_block(block, PAGE, namespace)
    assert namespace["DATABASES"]["default"]["OPTIONS"] == WAITING_OPTIONS


def test_the_documented_variables_are_those_of_the_tests(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tests.servers.mariadb.find_program", lambda name: name)
    (block,) = [block for block in PAGE.blocks if block.language == "ini"]
    parser = configparser.ConfigParser()
    parser.read_string(block.text)
    documented = {key: value for key, value in parser["mariadbd"].items() if key not in OWN}
    command = GaleraNode(tmp_path, STRICT).command()
    assert {f"--{key}={value}" for key, value in documented.items()} <= set(command)
    assert find_provider() in {None, parser["mariadbd"]["wsrep_provider"]}
