"""Labels in the admin: the column, the filter, the search, the page to edit them, pruning."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.test import Client

from tests.admin.example_runs import body, session_urls
from tests.builders import everything_stored, save_history
from tests.domain.test_labels import VALUES
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Label, Session

SCRIPT = "<script>alert(1)</script>"
LIST = session_urls.get_changelist_url()


@pytest.fixture
def service(db: Any) -> DjangoCheckpointer:
    """Sessions with labels, and one that looks like a label."""
    checkpointer = DjangoCheckpointer()
    for session_id in ("a", "b", "c", "env=test"):
        save_history(checkpointer, session_id, [1])
    checkpointer.set_labels("a", {"env": "test", "customer": "4711", "note": "two words"})
    checkpointer.set_labels("b", {"env": "test", "customer": "4712", "m": "1", "z": SCRIPT})
    return checkpointer


def get_listed_ids(client: Client, **query: Any) -> list[str]:
    response = client.get(LIST, query)
    assert response.status_code == 200
    return sorted(session.pk for session in response.context["cl"].result_list)


class TestList:
    def test_the_column_appears_with_the_first_label(
        self, admin_client: Client, service: DjangoCheckpointer
    ) -> None:
        assert "column-labels" in body(admin_client.get(LIST))
        Label.objects.all().delete()
        assert "column-labels" not in body(admin_client.get(LIST))

    def test_the_first_three_labels_are_links(
        self, admin_client: Client, service: DjangoCheckpointer
    ) -> None:
        html = body(admin_client.get(LIST))
        cells = re.findall(r'<td class="field-labels">(.*?)</td>', html)
        cell = next(each for each in cells if "4712" in each)
        names = [unescape(name) for name in re.findall(r"<bdi>(.*?)</bdi>", cell)]
        assert names == ["customer=4712", "env=test", "m=1"]
        assert cell.endswith(" <span>+1</span>")
        links = [unescape(link) for link in re.findall(r'href="(.*?)"', cell)]
        assert sorted(get_linked(admin_client, links[1])) == ["a", "b"]
        assert SCRIPT not in html

    @pytest.mark.parametrize(
        ("label", "found"),
        [
            ("env:test", ["a", "b"]),
            ("customer:4711", ["a"]),
            ("note:two words", ["a"]),
            (f"z:{SCRIPT}", ["b"]),
            ("env:prod", []),
            ("env", ["a", "b", "c", "env=test"]),
            ("", ["a", "b", "c", "env=test"]),
            ("\0:x", ["a", "b", "c", "env=test"]),
        ],
    )
    def test_the_filter(
        self, admin_client: Client, service: DjangoCheckpointer, label: str, found: list[str]
    ) -> None:
        assert get_listed_ids(admin_client, label=label) == found
        assert SCRIPT not in body(admin_client.get(LIST, {"label": label}))

    def test_the_filter_is_shown_while_it_is_selected(
        self, admin_client: Client, service: DjangoCheckpointer
    ) -> None:
        assert "By label" not in body(admin_client.get(LIST))
        html = body(admin_client.get(LIST, {"label": "note:two words", "status": "resumable"}))
        assert "By label" in html
        assert "note=&quot;two words&quot;" in html

    def test_the_active_filters_are_named(
        self, admin_client: Client, service: DjangoCheckpointer
    ) -> None:
        assert admin_client.get(LIST).context["cl"].active_filters == []
        response = admin_client.get(LIST, {"label": "note:two words", "forked": "no"})
        assert response.context["cl"].active_filters == [
            ("label", 'note="two words"'),
            ("origin", "not forked"),
        ]
        response = admin_client.get(LIST, {"label": "none", "forked": "none"})
        assert response.context["cl"].active_filters == []

    def test_a_session_without_labels_has_an_empty_cell(
        self, admin_client: Client, service: DjangoCheckpointer
    ) -> None:
        assert '<td class="field-labels"></td>' in body(admin_client.get(LIST, {"q": "c"}))

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("customer=4711", ["a"]),
            ("env=test customer=4712", ["b"]),
            (" env=test  customer=4712 ", ["b"]),
            ('note="two words"', ["a"]),
            ("customer=4711 customer=4712", []),
            ("env=prod", []),
            ("env=test", ["env=test"]),
            ("env=t", ["env=test"]),
            ("m=1", ["b"]),
            ("a", ["a"]),
            ("customer=4711 a", []),
            ("ENV=test", []),
        ],
    )
    def test_the_search(
        self, admin_client: Client, service: DjangoCheckpointer, text: str, found: list[str]
    ) -> None:
        assert get_listed_ids(admin_client, q=text) == found

    def test_search_and_filters_narrow_together(
        self, admin_client: Client, service: DjangoCheckpointer
    ) -> None:
        assert get_listed_ids(admin_client, q="customer=4711", label="env:test") == ["a"]
        assert get_listed_ids(admin_client, q="customer=4711", status="finished") == []


def get_linked(client: Client, url: str) -> list[str]:
    return [session.pk for session in client.get(url).context["cl"].result_list]


class TestSessionPage:
    def test_labels_are_links_to_the_list(
        self, admin_client: Client, service: DjangoCheckpointer
    ) -> None:
        html = body(admin_client.get(session_urls.get_session_url("b")))
        names = re.findall(r'<a class="weave-label" href="(.*?)"><bdi>(.*?)</bdi></a>', html)
        assert [unescape(name) for _, name in names] == [
            "customer=4712",
            "env=test",
            "m=1",
            f"z={SCRIPT}",
        ]
        for link, _ in names:
            assert "b" in get_linked(admin_client, unescape(link))
        assert SCRIPT not in html

    def test_a_session_without_labels_shows_none(
        self, admin_client: Client, service: DjangoCheckpointer
    ) -> None:
        html = body(admin_client.get(session_urls.get_session_url("c")))
        assert 'class="weave-label' not in html
        assert "Edit labels" in html


class TestEdit:
    def post(self, client: Client, text: str, initial: str = "", session_id: str = "a") -> Any:
        url = session_urls.get_url("labels", session_id)
        return client.post(url, {"labels": text, "initial-labels": initial})

    def get_form(self, client: Client, session_id: str = "a") -> str:
        form = client.get(session_urls.get_url("labels", session_id)).context["form"]
        return str(
            form["labels"].value() and form["labels"].field.prepare_value(form["labels"].value())
        )

    def test_the_form_has_a_line_for_each_label(
        self, admin_client: Client, service: DjangoCheckpointer
    ) -> None:
        html = unescape(body(admin_client.get(session_urls.get_url("labels", "a"))))
        lines = 'customer=4711\nenv=test\nnote="two words"'
        assert html.count(lines) == 2

    def test_changes_are_written_and_logged(
        self, admin_client: Client, service: DjangoCheckpointer
    ) -> None:
        shown = 'customer=4711\nenv=test\nnote="two words"'
        response = self.post(admin_client, "customer=4711\r\nenv=prod\r\nteam = x y\r\n", shown)
        assert response["Location"] == session_urls.get_session_url("a")
        assert service.get_labels("a") == {"customer": "4711", "env": "prod", "team": "x y"}
        entry = LogEntry.objects.get()
        assert (entry.action_flag, entry.object_id) == (CHANGE, "a")
        assert entry.change_message == 'Changed labels: note removed, env=prod, team="x y".'
        page = body(admin_client.get(response["Location"]))
        assert "The labels were changed." in page

    def test_labels_that_others_changed_meanwhile_are_kept(
        self, admin_client: Client, service: DjangoCheckpointer
    ) -> None:
        shown = 'customer=4711\nenv=test\nnote="two words"'
        service.set_labels("a", {"customer": "1", "new": "2"})
        self.post(admin_client, "customer=4711\nenv=prod", shown)
        assert service.get_labels("a") == {"customer": "1", "env": "prod", "new": "2"}

    def test_without_a_change_nothing_is_written(
        self, admin_client: Client, service: DjangoCheckpointer
    ) -> None:
        before = everything_stored()
        shown = 'customer=4711\nenv=test\nnote="two words"'
        assert self.post(admin_client, shown.replace("\n", "\r\n"), shown).status_code == 302
        assert everything_stored() == before
        assert not LogEntry.objects.exists()

    def test_each_value_survives_the_form(
        self, admin_client: Client, service: DjangoCheckpointer
    ) -> None:
        labels = {f"value{number}": value for number, value in enumerate(VALUES)}
        service.set_labels("c", labels)
        before = list(Label.objects.order_by("pk").values_list())
        form = admin_client.get(session_urls.get_url("labels", "c")).context["form"]
        shown = form.fields["labels"].prepare_value(form.initial["labels"])
        self.post(admin_client, shown.replace("\n", "\r\n"), "", "c")
        assert list(Label.objects.order_by("pk").values_list()) == before
        assert service.get_labels("c") == labels

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("env", "is not a label"),
            ("a b=1", "is not a label"),
            (f"{SCRIPT}=1", "is not a label"),
            ("a=" + "x" * 256, "is not a label"),
            ('a="\\u0000"', "is not a label"),
            ("a=1\na=2", "A key has two values."),
            ("\n".join(f"k{number}=" for number in range(65)), "at most 64 labels"),
            ("a=\0", "Null characters"),
        ],
    )
    def test_an_invalid_form_changes_nothing(
        self, admin_client: Client, service: DjangoCheckpointer, text: str, message: str
    ) -> None:
        before = everything_stored()
        response = self.post(admin_client, text)
        assert response.status_code == 200
        html = body(response)
        assert message in html
        assert SCRIPT not in html
        assert everything_stored() == before
        assert not LogEntry.objects.exists()

    def test_a_session_that_is_deleted_meanwhile(
        self, admin_client: Client, service: DjangoCheckpointer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original = DjangoCheckpointer.set_labels

        def delete_first(self: Any, session_id: str, labels: Any, **options: Any) -> Any:
            self.delete_session(session_id)
            return original(self, session_id, labels, **options)

        monkeypatch.setattr(DjangoCheckpointer, "set_labels", delete_first)
        response = self.post(admin_client, "env=prod")
        assert "This session does not exist." in body(response)

    def test_an_unknown_session(self, admin_client: Client, service: DjangoCheckpointer) -> None:
        url = session_urls.get_url("labels", "missing")
        assert admin_client.get(url).status_code == 404
        assert admin_client.post(url, {"labels": "a=1"}).status_code == 404


class TestPrune:
    def post(self, client: Client, labels: str, **fields: Any) -> Any:
        form = {"delete_inactive": "0d", "labels": labels, "stage": "preview", **fields}
        return client.post(session_urls.get_url("prune"), form)

    def test_labels_narrow_a_prune(self, admin_client: Client, service: DjangoCheckpointer) -> None:
        for labels, count in [
            ("env=test", 2),
            ("env=test customer=4711", 1),
            ('note="two words"', 1),
            ("env=prod", 0),
        ]:
            preview = body(self.post(admin_client, labels))
            assert f"and {count} session" in preview
        assert self.post(admin_client, 'note="two words"', stage="run").status_code == 302
        assert set(Session.objects.values_list("pk", flat=True)) == {"b", "c", "env=test"}
        assert Label.objects.count() == 4
        assert "labels: note=" in LogEntry.objects.get().change_message

    @pytest.mark.parametrize("labels", ["env", "a b=1", "a=1 a=2", 'a="'])
    def test_labels_that_are_refused(
        self, admin_client: Client, service: DjangoCheckpointer, labels: str
    ) -> None:
        response = self.post(admin_client, labels, stage="run")
        assert "Enter labels such as" in body(response)
        assert Session.objects.count() == 4

    def test_the_command_has_the_labels(
        self, admin_client: Client, service: DjangoCheckpointer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from weavegraph_checkpoints.admin.views import prune

        monkeypatch.setattr(prune, "MAX_SECONDS_PER_REQUEST", -1.0)
        html = unescape(body(self.post(admin_client, 'env=test note="two words"')))
        assert "manage.py prune_checkpoints --delete-inactive=0d" in html
        assert "--label=env=test '--label=note=two words'" in html or (
            "--label=env=test --label='note=two words'" in html
        )


def test_links_keep_any_label(admin_client: Client, service: DjangoCheckpointer) -> None:
    for value in VALUES:
        service.set_labels("c", {"key": value})
        url = session_urls.get_label_url("key", value)
        assert get_linked(admin_client, url) == ["c"], quote(value)
