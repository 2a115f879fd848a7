"""A headless Chromium, driven over a pair of pipes by its DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-extensions", "--disable-background-networking", "--hide-scrollbars",
    "--remote-debugging-pipe",
)  # fmt: skip


class Browser:
    """One page of a running browser; `problems` collects what its console says."""

    def __init__(self, to: IO[bytes], come: IO[bytes]) -> None:
        self._to, self._come = to, come
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self._seen: set[str] = set()
        self.problems: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        found = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while True:
            found = self._read()
            if found.get("id") == number:
                assert "error" not in found, found
                return cast(dict[str, Any], found["result"])

    def open(
        self,
        page: Path,
        *,
        width: int,
        height: int = 900,
        dark: bool = False,
        fragment: str = "",
    ) -> None:
        """Load a file in a window of this width, and wait until it is there."""
        scheme = "dark" if dark else "light"
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("Emulation.setEmulatedMedia", features=features)
        self._go("about:blank")  # a change of the fragment alone would load nothing
        self._go(page.as_uri() + fragment)

    def _go(self, url: str) -> None:
        self._seen.discard("Page.loadEventFired")
        self.ask("Page.navigate", url=url)
        while "Page.loadEventFired" not in self._seen:
            self._read()

    def value(self, expression: str) -> Any:
        """Evaluate an expression in the page."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")

    def screenshot(self, path: Path, *, clip: dict[str, float] | None = None) -> None:
        """Save the window's picture, or that of a part of the page."""
        more = {"clip": {**clip, "scale": 1}, "captureBeyondViewport": True} if clip else {}
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", **more)["data"]))

    def pdf(self, path: Path) -> None:
        """Print the page."""
        found = self.ask("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def _read(self) -> dict[str, Any]:
        data = bytearray()
        while (byte := self._come.read(1)) != b"\0":
            assert byte, "the browser has ended"
            data += byte
        found = cast(dict[str, Any], json.loads(data))
        method = found.get("method", "")
        self._seen.add(method)
        if method in ("Log.entryAdded", "Runtime.exceptionThrown", "Network.loadingFailed"):
            self.problems.append(json.dumps(found["params"]))
        if method == "Runtime.consoleAPICalled" and found["params"]["type"] in ("error", "warning"):
            self.problems.append(json.dumps(found["params"]))
        return found


def installed() -> str:
    """Return the browser's path; skips where there is none."""
    for name in NAMES:
        if (path := shutil.which(name)) is not None:
            return path
    pytest.skip("no Chromium is installed")


@contextmanager
def browser(program: str) -> Iterator[Browser]:
    """Start a browser with a profile of its own, and end it afterwards."""
    here, there = os.pipe(), os.pipe()
    script = f'exec "$0" "$@" 3<&{here[0]} 4>&{there[1]}'
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            ["bash", "-c", script, program, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(here[0], there[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(here[0])
        os.close(there[1])
        try:
            with os.fdopen(here[1], "wb") as to, os.fdopen(there[0], "rb") as come:
                yield Browser(to, come)
        finally:
            process.terminate()
            process.wait(timeout=60)
