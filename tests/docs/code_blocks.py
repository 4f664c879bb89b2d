"""Run the Python blocks of a page in order, in one namespace."""

from __future__ import annotations

import ast
import inspect
import io
from contextlib import redirect_stdout
from typing import Any

from asgiref.sync import async_to_sync

from tests.docs.markdown import Block, Page


def run_blocks(page: Page, given: dict[str, Any]) -> dict[str, Any]:
    """Run a page, compare its output with the documented output, and return its namespace."""
    namespace = {"__name__": page.name, **given}
    printed = ""
    for block in page.blocks:
        if block.language == "python":
            assert printed == "", f"{page.name}:{block.line}: output is not documented"
            printed = run_block(block, page, namespace)
        elif block.comment == "output":
            assert printed == block.text, f"{page.name}:{block.line}"
            printed = ""
    assert printed == "", f"{page.name}: output at the end is not documented"
    return namespace


def run_block(block: Block, page: Page, namespace: dict[str, Any]) -> str:
    """Run one block, which may use ``await``, and return its output."""
    code = compile(
        "\n" * (block.line - 1) + block.text,
        str(page.path),
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )
    output = io.StringIO()
    with redirect_stdout(output):
        if code.co_flags & inspect.CO_COROUTINE:
            async_to_sync(_awaited)(code, namespace)
        else:
            exec(code, namespace)
    return output.getvalue()


async def _awaited(code: Any, namespace: dict[str, Any]) -> None:
    await eval(code, namespace)
