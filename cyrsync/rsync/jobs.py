"""Several rsyncs side by side, and nothing else: a job has its turn, and gives it up while its rsync runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from cyrsync.errors import InterruptedRun

Item = TypeVar("Item")


class Jobs:
    """So many streams at once; with one there is no thread."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._turn = threading.Lock()
        self._stop = threading.Event()
        self._aside = 0

    def share(self, items: Iterable[Item], weight: Callable[[Item], int]) -> list[list[Item]]:
        """Part items among the jobs, the heaviest first, each to the one with least to do; no part is empty.

        In each part they are in the order that they came in.
        """
        all_items = list(items)
        if self.number == 1:
            return [all_items]
        parts: list[list[int]] = [[] for _ in range(self.number)]
        loads = [0] * self.number
        for place in sorted(range(len(all_items)), key=lambda place: -weight(all_items[place])):
            least = loads.index(min(loads))
            parts[least].append(place)
            loads[least] += weight(all_items[place]) + 1
        return [[all_items[place] for place in sorted(part)] for part in parts if part]

    def run(self, tasks: list[Callable[[], None]]) -> None:
        """Do tasks side by side. If one fails the others are stopped, and the first failure is raised."""
        if len(tasks) == 1:
            tasks[0]()
            return
        failures: list[BaseException] = []
        threads = [threading.Thread(target=self._do, args=(task, failures)) for task in tasks]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        finally:
            # A signal has arrived: the threads must not outlive their files.
            self._stop.set()
            for thread in threads:
                thread.join()
            self._stop.clear()
        if failures:
            raise failures[0]

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Let the other jobs have their turn meanwhile."""
        if not self._turn.locked():
            yield
            return
        self._aside += 1
        self._turn.release()
        try:
            yield
        finally:
            self._turn.acquire()
            self._aside -= 1

    def others_run(self) -> bool:
        """Tell, from aside, whether another job is there, too."""
        return self._aside > 1

    def watched(self, tick: Callable[[], None] | None) -> Callable[[], None] | None:
        """Return a tick that ends a job whose run is over, and is called by one job at a time."""
        if self.number == 1:
            return tick

        def watch() -> None:
            if self._stop.is_set():
                raise InterruptedRun("the run was stopped")
            if tick:
                with self._turn:
                    tick()

        return watch

    def _do(self, task: Callable[[], None], failures: list[BaseException]) -> None:
        with self._turn:
            try:
                task()
            except BaseException as error:  # noqa: BLE001 - it is raised again by the one who waits
                failures.append(error)
                self._stop.set()
