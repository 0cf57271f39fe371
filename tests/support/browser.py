"""Headless Chromium over its DevTools protocol: pages at any width, light and dark."""

import base64
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess

from websockets.sync.client import connect

PROGRAM = "chromium-headless-shell"
WITHIN = 60  # seconds for any answer


@contextlib.contextmanager
def browser(folder):
    """
    Start Chromium with a profile below ``folder`` and yield a Browser.

    Raises RuntimeError where it is not installed, or does not start.
    """
    if not shutil.which(PROGRAM):
        raise RuntimeError(
            f"{PROGRAM} is not installed: run `sudo ./fanatico test`, or `apt-get install {PROGRAM}`."
        )
    process = subprocess.Popen(
        [
            PROGRAM,
            "--no-sandbox",  # required as root; it loads only the test's page
            "--remote-debugging-port=0",
            "--disable-gpu",
            f"--user-data-dir={folder}/profile",
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # Debian's program is a script that waits for the browser: end both
    )
    try:
        found = (re.search(r"DevTools listening on (ws://\S+)", line) for line in process.stderr)
        address = next((match[1] for match in found if match), None)
        if not address:
            raise RuntimeError(f"{PROGRAM} ended with exit code {process.wait()} before it listened.")
        with connect(address, max_size=None, proxy=None) as socket:
            yield Browser(socket)
    finally:
        with contextlib.suppress(ProcessLookupError):  # it may have ended already
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()


class Browser:
    """One tab and its events."""

    def __init__(self, socket):
        self.socket, self.numbers, self.events = socket, itertools.count(1), []
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        """Call a method of the protocol and return its result. Raises RuntimeError where it refuses."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        self.socket.send(json.dumps(message | ({"sessionId": self.session} if self.session else {})))
        while (answer := self._next()).get("id") != number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _next(self):
        answer = json.loads(self.socket.recv(timeout=WITHIN))
        if "method" in answer:
            self.events.append(answer)
        return answer

    def open(self, path, width, height=900, scheme="light"):
        """Open a file in a window of so many pixels, with a colour scheme, and wait until it is loaded."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=path.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._next()

    def ask(self, expression):
        """Return the value of a JavaScript expression in the page. Raises RuntimeError where it throws."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def errors(self):
        """Return what the page wrote to the console, or threw, since it was opened."""
        names = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [event["params"] for event in self.events if event["method"] in names]

    def requested(self):
        """Return the addresses that were asked for since the page was opened."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def picture(self, path):
        """Write the whole page as a PNG file."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))
