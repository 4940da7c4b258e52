"""A headless Chromium, and what a reader does with it."""

from __future__ import annotations

import base64
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
_SWITCHES = ("--disable-background-networking", "--disable-component-update", "--no-first-run")


class Browser:
    """One browser; each page that it opens starts afresh."""

    def __init__(self) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in (*_FLAGS, *_SWITCHES):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))

    def open(
        self,
        path: Path,
        fragment: str = "",
        *,
        size: tuple[int, int] = (1280, 860),
        theme: str = "light",
        scripts: bool = True,
    ) -> None:
        """Opens a page in a window of some size, for a reader who likes some theme."""
        width, height = size
        self.cdp("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        feature = {"name": "prefers-color-scheme", "value": theme}
        self.cdp("Emulation.setEmulatedMedia", media="", features=[feature])
        self.driver.get("about:blank")
        self.logs()
        self.requests()
        self.driver.get(path.as_uri() + (f"#{fragment}" if fragment else ""))
        # Scripts wait for details that come packed.
        while scripts and self.js("return document.getElementById('packed') !== null"):
            time.sleep(0.02)

    def visit(self, address: str) -> None:
        """Opens a page that is served."""
        self.cdp("Emulation.setScriptExecutionDisabled", value=False)
        self.driver.get("about:blank")
        self.logs()
        self.driver.get(address)

    def text(self, selector: str) -> str:
        """What is written in an element."""
        return str(
            self.js("return document.querySelector(arguments[0])?.textContent ?? ''", selector)
        )

    def cdp(self, command: str, **arguments: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, arguments)

    def js(self, script: str, *arguments: Any) -> Any:
        """What a piece of script returns."""
        return self.driver.execute_script(script, *arguments)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        self.one(selector).click()

    def press(self, *keys: str) -> None:
        """Presses keys where the focus is."""
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def focused(self) -> str:
        """Text or label of what has the focus."""
        return str(
            self.js(
                "const e = document.activeElement;"
                "return e.getAttribute('aria-label') ?? e.textContent.trim()"
            )
        )

    def names(self) -> list[str]:
        """Methods in the order in which they are seen."""
        return list(
            self.js(
                "return [...document.querySelectorAll('#board tbody tr[id]')]"
                ".filter(r => r.offsetHeight).map(r => r.querySelector('.name').textContent)"
            )
        )

    def column(self, number: int, voice: str) -> list[str | None]:
        """A column's values of one voice (p, r, d) in the order in which they are seen."""
        return list(
            self.js(
                "return [...document.querySelectorAll('#board tbody tr[id]')]"
                ".filter(r => r.offsetHeight)"
                ".map(r => r.cells[arguments[0]].dataset[arguments[1]] ?? null)",
                number, voice,
            )
        )  # fmt: skip

    def fragment(self) -> str:
        return str(self.js("return location.hash.slice(1)"))

    def said(self) -> str:
        """What the live region says."""
        return str(self.js("return document.getElementById('said').textContent"))

    def logs(self) -> list[str]:
        """Errors and warnings of the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last call."""
        messages = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        return [
            str(m["params"]["request"]["url"])
            for m in messages
            if m["method"] == "Network.requestWillBeSent"
        ]

    def accessibility_tree(self, patience_s: float = 20.0) -> list[Mapping[str, Any]]:
        """What a screen reader is told, once the browser has built it.

        Chromium builds it beside the page; on a busy machine it first holds the document alone.
        """
        deadline = time.monotonic() + patience_s
        size = 0
        while True:
            nodes = self.cdp("Accessibility.getFullAXTree")["nodes"]
            if (1 < len(nodes) == size) or time.monotonic() > deadline:
                return [node for node in nodes if not node.get("ignored")]
            size = len(nodes)
            time.sleep(0.1)

    def screenshot(self) -> bytes:
        return base64.b64decode(self.cdp("Page.captureScreenshot", format="png")["data"])

    def axe(self, source: str) -> list[Mapping[str, Any]]:
        """Serious and critical findings of axe-core on the page as it is."""
        self.js(source)
        found = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "axe.run(document, {resultTypes: ['violations']}).then(done)"
        )
        return [v for v in found["violations"] if v["impact"] in ("serious", "critical")]

    def quit(self) -> None:
        self.driver.quit()


def in_words(violations: Sequence[Mapping[str, Any]]) -> str:
    """Findings of axe-core as an assertion's message."""
    return "\n".join(
        f"{v['id']}: {v['help']}: {[n['html'][:160] for n in v['nodes'][:3]]}" for v in violations
    )


__all__ = ["CHROMIUM", "DRIVER", "Browser", "Keys", "in_words"]
