"""Statements of the docs about the project: links, make targets, versions and layers."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.docs.markdown import ALL, DOCS, PAGES, README, ROOT, Page, names, page, rows

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.name)
def test_every_link_and_anchor_resolves(each: Page) -> None:
    for link in each.links:
        if link.startswith("https://"):
            continue
        target, _, anchor = link.partition("#")
        path = (each.path.parent / target).resolve() if target else each.path
        assert path.exists(), link
        assert path.is_relative_to(ROOT), link
        if anchor:
            assert anchor in Page(path).anchors, link


def test_the_index_leads_to_every_page() -> None:
    index = page("index")
    assert {each.path.name for each in DOCS} - {"index.md"} == {
        link for link in index.links if link.endswith(".md")
    }


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.name)
def test_every_make_target_exists(each: Page) -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", MAKEFILE, re.MULTILINE))
    commands = [*each.code, *re.findall(r"^\$ (make .+)$", each.text, re.MULTILINE)]
    for command in commands:
        if re.match(r"make(?: |$)", command):
            for word in command.partition("#")[0].split()[1:]:
                if re.fullmatch(r"[a-z][\w-]*", word):
                    assert word in targets, command


def test_every_variable_of_make_exists() -> None:
    for each in ALL:
        for variable in re.findall(r"\bmake [^`\n]*?\b([A-Z]+)=", each.text):
            assert re.search(rf"^{variable} \?=", MAKEFILE, re.MULTILINE), variable


def test_the_versions_of_the_readme_are_those_of_the_project() -> None:
    classifiers = PROJECT["project"]["classifiers"]
    pythons = re.findall(r"Python :: (\d\.\d+)", "\n".join(classifiers))
    djangos = re.findall(r"Django :: (\d\.\d)", "\n".join(classifiers))
    section = README.section("Supported versions")
    header = section.strip().splitlines()[0]
    assert re.findall(r"Django (\d\.\d)", header) == djangos
    table = {row[0].removeprefix("Python "): row[1:] for row in rows(section)}
    assert list(table) == pythons
    assert f">={pythons[0]}" == PROJECT["project"]["requires-python"]
    tested = {
        (f"{python[0]}.{python[1:]}", f"{django[0]}.{django[1]}")
        for python, django in _tox_environments()
    }
    assert {
        (python, django)
        for python, cells in table.items()
        for django, cell in zip(djangos, cells, strict=True)
        if cell == "yes"
    } == tested
    assert {cell for cells in table.values() for cell in cells} == {"yes", "no"}


def _tox_environments() -> set[tuple[str, str]]:
    text = (ROOT / "tox.ini").read_text(encoding="utf-8")
    found = set()
    for line in re.findall(r"^    py(\S+)$", text, re.MULTILINE):
        python, _, django = line.partition("-dj")
        for each in re.findall(r"\d+", python):
            found |= {(each, version) for version in re.findall(r"\d+", django)}
    return found


def test_the_first_steps_name_the_supported_pythons() -> None:
    pythons = re.findall(r"Python :: (\d\.\d+)", "\n".join(PROJECT["project"]["classifiers"]))
    assert f"Python from {pythons[0]} to {pythons[-1]}" in README.text


def test_the_dependencies_are_explained() -> None:
    section = page("architecture").section("Dependencies")
    documented = [names(row[0])[0] for row in rows(section)]
    assert documented == [_name(text) for text in PROJECT["project"]["dependencies"]]
    optional = PROJECT["project"]["optional-dependencies"]
    extras = {names(row[0])[0]: names(row[1]) for row in rows(section[section.index("| extra") :])}
    assert set(extras) == set(optional)
    for extra, packages in extras.items():
        if extra != "all":
            assert packages == [_name(text) for text in optional[extra]]
    assert f"pip install {PROJECT['project']['name']}" in README.text
    for extra in ("postgres", "mariadb"):
        assert f"'{PROJECT['project']['name']}[{extra}]'" in README.text


def _name(requirement: str) -> str:
    return re.match(r"[\w-]+", requirement).group(0)  # type: ignore[union-attr]


def test_the_import_contracts_are_listed() -> None:
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    documented = {names(row[0])[0]: row[1] for row in _contract_rows()}
    assert documented == {each["id"]: each["name"] for each in contracts}


def _contract_rows() -> list[list[str]]:
    return list(rows(page("architecture").section("Import contracts")))


def test_every_room_has_its_layer() -> None:
    package = ROOT / "weavegraph_checkpoints"
    rooms = {
        path.stem
        for path in package.iterdir()
        if path.stem[0] not in "._" and (path.suffix == ".py" or (path / "__init__.py").exists())
    }
    layers = list(rows(page("architecture").section("Layers")))
    documented = {name for row in layers for name in names(row[1])}
    assert documented == rooms


def test_the_picture_is_readable() -> None:
    path = ROOT / "docs" / "images" / "save.svg"
    root = ElementTree.parse(path).getroot()
    assert root.find(f"{SVG}title") is not None
    assert root.find(f"{SVG}desc") is not None
    style = root.find(f"{SVG}style")
    assert style is not None
    assert style.text is not None
    light, dark = style.text.split("@media (prefers-color-scheme: dark)")
    classes = re.compile(r"(\S+) \{[^}]*: #")
    assert set(classes.findall(light)) == set(classes.findall(dark))
    assert "docs/images/save.svg" in README.links


@pytest.mark.parametrize("each", PAGES, ids=lambda each: each.name)
def test_style(each: Page) -> None:
    assert "TODO" not in each.text
    for number, line in enumerate(each.text.splitlines(), 1):
        exempt = line.startswith(("|", "![", "#")) or "](" in line
        assert exempt or len(line) <= 100, f"{each.name}:{number}"
        assert line == line.rstrip(), f"{each.name}:{number}"


def test_the_example_project_is_where_the_docs_say() -> None:
    for each in PAGES:
        for name in each.code:
            if re.fullmatch(r"example_project(?:/[\w.]+)*", name):
                assert Path(ROOT / name).exists(), name
