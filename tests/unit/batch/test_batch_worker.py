import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featherface import Detections, Settings
from featherface_batch.crew import ByteBudget, Crew
from featherface_batch.finders import FaceFinder
from featherface_batch.records import Photo
from featherface_batch.s3 import S3Options
from featherface_batch.worker import Worker, WorkerConfig, _Board


class Finder:
    """Answers at once, or waits where the photo says so."""

    def __init__(self, settings: Settings) -> None:
        self.threads = settings.threads
        self.gate = threading.Event()

    def detect(self, data: bytes) -> Detections:
        if data == b"wait":
            self.gate.wait(60)
        if data == b"crash":
            raise RuntimeError("no face can be found here")
        if data == b"hungry":
            raise MemoryError
        return Detections(10, len(data))


def worker(finder: FaceFinder, timeout: float = 30, cpus: int = 2, **settings: int) -> Worker:
    load: Callable[[Settings], FaceFinder] = lambda _: finder  # noqa: E731
    return Worker(WorkerConfig(Settings(**settings), S3Options(), cpus, timeout, fetchers=3, load=load))


def photos(folder: Path, contents: list[bytes]) -> list[Photo]:
    found = []
    for number, content in enumerate(contents):
        path = folder / f"{number:03d}.jpg"
        path.write_bytes(content)
        found.append(Photo(path.name, str(path), len(content)))
    return found


def test_outcomes_come_in_the_photos_order(tmp_path: Path) -> None:
    contents = [b"x" * (1 + number % 7) for number in range(200)]
    outcomes = worker(Finder(Settings())).annotate(photos(tmp_path, contents))
    assert [outcome.photo.key for outcome in outcomes] == [f"{number:03d}.jpg" for number in range(200)]
    assert [outcome.detections["image"]["height"] for outcome in outcomes if outcome.detections] == [
        len(content) for content in contents
    ]


def test_nothing_to_do_is_done(tmp_path: Path) -> None:
    assert worker(Finder(Settings())).annotate([]) == []


def test_each_failure_is_the_photos_own(tmp_path: Path) -> None:
    todo = photos(tmp_path, [b"fine", b"crash", b"hungry", b"fine", b"far too long"])
    Path(todo[3].location).unlink()
    outcomes = worker(Finder(Settings()), max_image_bytes=8).annotate(todo)
    assert [outcome.code for outcome in outcomes] == [
        None,
        "internal",
        "out_of_memory",
        "missing",
        "image_too_large",
    ]
    assert outcomes[1].message == "RuntimeError: no face can be found here"


def test_a_folder_named_like_a_photo_is_no_photo(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    (outcome,) = worker(Finder(Settings())).annotate([Photo("folder.jpg", str(tmp_path / "folder.jpg"))])
    assert outcome.code == "fetch_failed"


def test_more_hanging_photos_than_threads_cost_no_neighbour(tmp_path: Path) -> None:
    finder = Finder(Settings())
    # what does not hang must be done in that time, however busy the machine is
    hanging = worker(finder, timeout=3, cpus=4)
    outcomes = hanging.annotate(photos(tmp_path, [b"wait"] * 5 + [b"fine"] * 20))
    assert [outcome.code for outcome in outcomes] == ["timeout"] * 5 + [None] * 20
    finder.gate.set()
    assert {outcome.code for outcome in hanging.annotate(photos(tmp_path, [b"fine"] * 20))} == {None}


class Gap:
    """A lock that lets others in as soon as it is free: something happens whenever it is released."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._then = then

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        self._then()


def test_a_photo_that_is_given_up_in_one_stage_does_not_go_on_to_the_next() -> None:
    board: Any = _Board([Photo("a.jpg", "/a.jpg")], timeout=0.01)
    went_on: list[bool] = []

    def fetched() -> None:
        if not went_on:
            went_on.append(False)
            went_on[0] = board.start(0, "queue")

    board.start(0, "fetch")
    time.sleep(0.02)
    board._lock = Gap(fetched)
    given_up = board.give_up_late()
    # or its fetching thread is replaced, and a searching one leaves for it later
    assert (given_up, went_on) == ([(0, "fetch")], [False])
    (outcome,) = board.outcomes()
    assert outcome.code == "timeout"
    assert outcome.message == "fetching /a.jpg took more than 0.01 s"


def test_shards_share_a_worker(tmp_path: Path) -> None:
    shared = worker(Finder(Settings()))
    folders = [tmp_path / str(number) for number in range(4)]
    results: dict[int, int] = {}

    def run(number: int) -> None:
        folders[number].mkdir()
        results[number] = len(shared.annotate(photos(folders[number], [b"fine"] * 50)))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == dict.fromkeys(range(4), 50)


def test_a_budget_lets_a_large_photo_pass_alone() -> None:
    budget = ByteBudget(10)
    assert budget.acquire(25) == 10
    passed = threading.Event()
    threading.Thread(target=lambda: (budget.acquire(1), passed.set()), daemon=True).start()
    assert not passed.wait(0.2)
    budget.release(10)
    assert passed.wait(10)


def test_a_crew_works_on_after_a_thread_is_replaced() -> None:
    crew, gate, done = Crew(1, "test"), threading.Event(), threading.Event()
    crew.submit(lambda: (gate.wait(60), None)[1])
    crew.submit(done.set)
    assert not done.wait(0.2)
    crew.replace()
    assert done.wait(10)
    gate.set()
    crew.dismiss()
    crew.close()


@pytest.mark.parametrize("cpus", [1, 4])
def test_the_session_has_one_thread_however_many_cpus_the_worker_has(cpus: int) -> None:
    seen: list[int] = []

    def load(settings: Settings) -> FaceFinder:
        seen.append(settings.threads)
        return Finder(settings)

    Worker(WorkerConfig(Settings(threads=8), S3Options(), cpus, load=load)).close()
    assert seen == [1]


class Owned(Finder):
    """Knows which threads use it, and waits until as many finders as threads are at work."""

    everyone = threading.Barrier(3)

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.users: set[int] = set()

    def detect(self, data: bytes) -> Detections:
        if not self.users:
            self.everyone.wait(30)
        self.users.add(threading.get_ident())
        return super().detect(data)


def test_each_thread_has_a_detector_of_its_own(tmp_path: Path) -> None:
    loaded: list[Owned] = []

    def load(settings: Settings) -> FaceFinder:
        loaded.append(Owned(settings))
        return loaded[-1]

    many = Worker(WorkerConfig(Settings(), S3Options(), cpus=3, timeout=60, fetchers=3, load=load))
    assert len(loaded) == 1, "one is loaded ahead, so that a model that fails ends the worker"
    outcomes = many.annotate(photos(tmp_path, [b"fine"] * 30))
    assert not any(outcome.failed for outcome in outcomes)
    assert len(loaded) == 3
    assert all(len(finder.users) == 1 for finder in loaded)
