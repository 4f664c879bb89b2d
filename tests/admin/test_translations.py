"""All texts of the pages are translatable, and counts have plural forms."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from django.utils.translation.template import templatize

PACKAGE = Path(__file__).parents[2] / "weavegraph_checkpoints"
TEMPLATES = PACKAGE / "templates" / "admin" / "weavegraph_checkpoints" / "session"


@pytest.mark.parametrize("template", sorted(TEMPLATES.iterdir()), ids=lambda path: path.name)
def test_a_template_has_no_text_outside_translations(template: Path) -> None:
    text = template.read_text()
    text = re.sub(r"{% blocktranslate.*?{% endblocktranslate %}", "", text, flags=re.S)
    text = re.sub(r"<pre[^>]*>DjangoCheckpointer.*?</pre>", "", text, flags=re.S)
    text = re.sub(r"{%.*?%}|{{.*?}}|{#.*?#}", "", text, flags=re.S)
    text = re.sub(r"<kbd>.*?</kbd>", "", text)
    text = unescape(re.sub(r"<[^>]*>", "", text))
    words = set(re.findall(r"[A-Za-z]{2,}", text))
    assert words <= {"messages", "extra", "errors"}, template.name


@pytest.mark.parametrize("template", sorted(TEMPLATES.iterdir()), ids=lambda path: path.name)
def test_a_count_has_plural_forms(template: Path) -> None:
    for options, inside in re.findall(
        r"{% blocktranslate(.*?)%}(.*?){% endblocktranslate %}", template.read_text(), re.S
    ):
        assert ("{% plural %}" in inside) == (" count " in options), inside


def test_makemessages_reads_every_template() -> None:
    marked = "".join(templatize(template.read_text()) for template in TEMPLATES.iterdir())
    assert "gettext" in marked
    assert "ngettext" in marked


UNMARKED_TEXT = re.compile(r"""(?:title|description|label|help_text|message)=f?["'][A-Za-z]""")


@pytest.mark.parametrize(
    "module", sorted((PACKAGE / "admin").rglob("*.py")), ids=lambda path: path.name
)
def test_texts_in_modules_are_marked_for_translation(module: Path) -> None:
    assert not UNMARKED_TEXT.findall(module.read_text())
    for call in re.findall(r"messages\.(?:success|warning|error)\((.*?)\)\n", module.read_text()):
        assert (
            "_(" in call
            or "format_missing_step(" in call
            or "format_protected(" in call
            or "text %" in call
            or "gettext(" in call
        )
