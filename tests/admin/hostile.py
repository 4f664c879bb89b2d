"""Checkpoints with texts that attack the pages: markup, scripts, templates, direction chars."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from string import ascii_letters
from zlib import crc32

from weavegraph_checkpoints import (
    Checkpoint,
    ErrorEvent,
    Message,
    NodeScope,
    RunnerScope,
    VersionedState,
    WeaveError,
)

SCRIPT = "<script>alert('script')</script>"
HANDLER = "<img src=x onerror=\"alert('handler')\">"
CLOSING = "</bdi></pre></td></table></details></div></main></body><h1>closed</h1>"
ATTRIBUTE = "\" onmouseover=\"alert('attribute')\" x='"
TEMPLATE = "{{ request.user.password }}{% load static %}{# #}"
STYLE = "<style>body{display:none}</style><link rel=stylesheet href=//evil.test/x.css>"
LINK = "javascript:alert('link')"
FRAME = "<iframe src=//evil.test></iframe><base href=//evil.test/>"
BIDI = "\u202eevil\u2066\u2067\u200f"
NULL = "a\0b"
COMMENT = "<!--<![CDATA["
ENTITY = "&lt;b&gt;&amp;&#60;script&#62;"

TEXTS = (
    SCRIPT,
    HANDLER,
    CLOSING,
    ATTRIBUTE,
    TEMPLATE,
    STYLE,
    LINK,
    FRAME,
    BIDI,
    COMMENT,
    ENTITY,
)
SESSION_ID = f"{SCRIPT}{HANDLER}{ATTRIBUTE}{BIDI}{TEMPLATE}"[:250]

TextTransform = Callable[[str], str]


def keep_text(text: str) -> str:
    """Return hostile text unchanged."""
    return text


def make_harmless(text: str) -> str:
    """Replace the ASCII characters of a text by a letter that depends on it.

    Spaces, ``_`` and ``:`` are kept: the names of nodes may break there.
    """
    letter = ascii_letters[crc32(text.encode()) % len(ascii_letters)]
    return "".join(letter if mark.isascii() and mark not in " _:" else mark for mark in text)


def a_hostile_run(session_id: str, transform: TextTransform = keep_text) -> list[Checkpoint]:
    """Return three steps with hostile text in every field.

    ``transform`` is applied to each text. With ``make_harmless``, the pages of the run must have
    the same elements.
    """
    texts = [transform(text) for text in TEXTS]
    null, endless = transform(NULL), transform("<" * 9_000)
    huge = transform("<b>" * 350_000)
    errors = [
        ErrorEvent(
            error=WeaveError(
                message=text,
                cause=WeaveError(message=texts[0], details={text: [text]}),
                details={text: text},
            ),
            scope=NodeScope(kind=text, step=1) if index % 2 else RunnerScope(session=text, step=1),
            tags=[text, null],
            context=[{text: {text: null}}],
            when=datetime(2026, 1, 1, tzinfo=UTC),
        )
        for index, text in enumerate(texts)
    ]
    history = []
    for step in (1, 2, 3):
        messages = [Message(role=text, content=text) for text in (*texts, null, endless)]
        extras = {text: {text: [text, null]} for text in texts} | {null: endless}
        if step == 2:
            messages = [Message(role=text, content=f"{text} {text}") for text in texts]
            extras = {text: text for text in texts}
        if step == 3:
            messages.append(Message.user(huge))
        state = VersionedState.new(messages=messages, extra=extras, errors=errors[: 4 * step])
        history.append(
            Checkpoint(
                session_id=session_id,
                step=step,
                state=state,
                frontier=texts,
                versions_seen={text: {text: step, "messages": 0} for text in texts},
                created_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=step),
                ran_nodes=texts,
                skipped_nodes=texts,
                updated_channels=texts,
            )
        )
    return history


def get_hostile_page_urls(session_id: str) -> list[str]:
    """Return the URLs of all pages that show texts of the run."""
    from tests.admin.example_runs import session_urls

    return [
        session_urls.get_changelist_url(),
        session_urls.get_session_url(session_id),
        session_urls.get_session_url(session_id, node=SCRIPT),
        session_urls.get_session_url(session_id, go="99"),
        session_urls.get_step_url(session_id, 1),
        session_urls.get_step_url(session_id, 2),
        session_urls.get_step_url(session_id, 2, errors="all"),
        session_urls.get_step_url(session_id, 3),
        session_urls.get_step_url(session_id, 3, whole="yes"),
        session_urls.get_url("value", session_id, 1),
        session_urls.get_url("value", session_id, 1, query={"at": "/extra/map"}),
        session_urls.get_url("value", session_id, 1, query={"at": "/errors/items/1"}),
        session_urls.get_url("value", session_id, 1, query={"at": "/messages/items/0/content"}),
        session_urls.get_compare_url(session_id, 1, 2),
        session_urls.get_compare_url(session_id, 2, 1),
        session_urls.get_compare_url(session_id, 1, 77),
        session_urls.get_url("fork", session_id),
        session_urls.get_url("delete", session_id),
        session_urls.get_url("history", session_id),
    ]
