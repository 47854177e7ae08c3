"""The pool of workers grows to what there is room for."""

from collections.abc import Callable

from conftest import Annotated

SCRIPT = """
import sys
from featherface import Settings
from featherface_batch.job import JobConfig, annotate
from featherface_batch.pool import Limits
from finders import RecordingFinder

source, output = sys.argv[1:]
annotate(JobConfig(
    source, output, Settings(input_size=320), cpus=2, workers=Limits(worker_cpus=1), load=RecordingFinder
))
"""
PHOTOS = 640


def test_every_worker_that_there_is_room_for_has_its_share(
    on_a_cluster: Callable[[str, int], Annotated],
) -> None:
    run = on_a_cluster(SCRIPT, PHOTOS)
    processes = [process for process, _ in run.log]
    assert len(processes) == PHOTOS
    assert len(set(processes)) == 2
