"""Pages in a real Chromium, served from an origin that is not the server's."""

import functools
import json
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

#: Milliseconds. Far more than anything takes.
_PATIENCE = 30_000


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a folder."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The system's, or playwright's own."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    expect.set_options(timeout=_PATIENCE)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        await browser.close()


@asynccontextmanager
async def opened(browser: Browser) -> AsyncIterator[Page]:
    """An empty page. At its end nothing may have gone wrong in it."""
    page = await browser.new_page()
    page.set_default_timeout(_PATIENCE)
    wrong: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            wrong.append(message.text)

    page.on("console", listen)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    yield page
    await page.close()
    assert not wrong, wrong


class Chat:
    """One of the chats of `tests/js/pages`, as a person uses it."""

    def __init__(self, page: Page, origin: str, name: str, url: str, key: str) -> None:
        self.page = page
        self.name = name
        self._origin = origin
        self._address = {"page": name, "url": url, "key": key}

    async def open(self, assistant: str, **configurable: Any) -> None:
        """A new chat."""
        address = {**self._address, "assistant": assistant, "config": json.dumps(configurable)}
        await self.page.goto(f"{self._origin}/?{urlencode(address)}")

    @property
    def thread_id(self) -> str:
        """The thread of the chat, once it has one."""
        return parse_qs(urlsplit(self.page.url).query)["thread"][0]

    async def say(self, text: str) -> None:
        await self.page.get_by_role("textbox").fill(text)
        await self.click("send")

    async def click(self, button: str) -> None:
        await self.page.get_by_role("button", name=button, exact=True).click()

    async def has(self, *texts: str) -> None:
        """Wait until these are the messages."""
        await expect(self.page.locator("li[data-type] p")).to_have_text(list(texts))

    async def sees(self, text: str) -> None:
        """Wait until this is somewhere on the screen."""
        await expect(self.page.locator("main")).to_contain_text(text)

    async def is_idle(self) -> None:
        """Wait for the end of the run; it went well."""
        await expect(self.page.locator("#state")).to_have_text("idle")
        await expect(self.page.locator("#error")).to_have_count(0)

    async def shown(self, what: str) -> list[Any]:
        """What was on the screen: `texts`, `tools` or `isLoading`, each state once."""
        states = await self.page.evaluate("window.shown")
        values = [state[what] for state in states]
        return [value for number, value in enumerate(values) if not number or value != values[number - 1]]
