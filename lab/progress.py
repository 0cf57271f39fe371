"""Progress display: phase, elapsed time, what is awaited. One live line on a terminal, plain lines in the log."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


class Progress:
    """Print phases while they run and record the duration of each."""

    def __init__(self, log_path: Path | str | None = None, stream: TextIO = sys.stdout) -> None:
        self.started = time.monotonic()
        self.phases: list[tuple[str, float]] = []  # (name, seconds), in the order they ended
        self._stream = stream
        self._live = stream.isatty()
        self._log = open(log_path, "a", buffering=1) if log_path else None  # noqa: SIM115 (closed in close())
        self._phase: str | None = None
        self._awaited = ""
        self._lock = threading.Lock()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Show `name` as running until the block ends."""
        began = time.monotonic()
        self._phase, self._awaited = name, ""
        self._line(f"... {name}", terminal=not self._live)
        stop = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(stop, began), daemon=True)
        if self._live:
            ticker.start()
        outcome = "FAILED"
        try:
            yield
            outcome = "ok"
        finally:
            stop.set()
            if self._live:
                ticker.join()
            took = time.monotonic() - began
            self.phases.append((name, took))
            self._phase = None
            self._line(f"{outcome:<6} {name} ({took:.1f} s)")

    def awaiting(self, what: str) -> None:
        """Show what the running phase waits for: on the live line and, when it changes, in the log."""
        if what != self._awaited:
            self._awaited = what
            self._line(f"    {what}", terminal=not self._live)

    def say(self, text: str = "") -> None:
        """Print a permanent line."""
        self._line(text)

    def close(self) -> None:
        """Close the log."""
        if self._log:
            self._log.close()

    def _line(self, text: str, terminal: bool = True) -> None:
        with self._lock:
            elapsed = time.monotonic() - self.started
            stamped = (
                f"[{elapsed:6.1f} s] {text}" if self._phase or text.startswith(("ok ", "FAILED")) else text
            )
            if terminal:
                self._stream.write(("\r\033[K" if self._live else "") + stamped + "\n")
                self._stream.flush()
            if self._log:
                self._log.write(stamped + "\n")

    def _tick(self, stop: threading.Event, began: float) -> None:
        while not stop.wait(0.2):
            with self._lock:
                now = time.monotonic()
                awaited = f": {self._awaited}" if self._awaited else ""
                text = f"[{now - self.started:6.1f} s] {self._phase} {now - began:.0f} s{awaited}"
                self._stream.write("\r\033[K" + text[:118])
                self._stream.flush()
