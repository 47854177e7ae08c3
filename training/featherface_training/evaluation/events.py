"""WIDER FACE's 61 events: a model knows those that its training photos show better than the others."""

from collections.abc import Collection, Mapping
from pathlib import Path

from .errors import EvaluationError
from .ground_truth import GroundTruth
from .protocol import Evaluation, Predictions, evaluate

__all__ = ["by_event", "event", "of_events", "trained_events"]


def event(name: str) -> str:
    """Return the event of a photo `event/name`, such as 0--Parade."""
    return name.partition("/")[0]


def of_events(
    photos: Mapping[str, Path], events: Collection[str], *, others: bool = False
) -> dict[str, Path]:
    """Return those photos that show one of WIDER's events, or with `others` those that show none of them.

    Raises
    ------
    EvaluationError
        If no photo shows one of the events, or with `others` if no photo is left.
    """
    present = {event(name) for name in photos}
    if unknown := sorted(set(events) - present):
        raise EvaluationError(
            f"expected an event of which there are photos, got {unknown[0]!r}; "
            f"there are {', '.join(sorted(present))}"
        )
    chosen = {name: path for name, path in photos.items() if (event(name) in events) != others}
    if not chosen:
        raise EvaluationError("every photo shows one of the events that were to be left out")
    return chosen


def trained_events(wider: Path) -> set[str]:
    """Return the events of which a WIDER root has training photos."""
    return {
        folder.name for folder in (wider / "WIDER_train" / "images").glob("*") if any(folder.glob("*.jpg"))
    }


def by_event(predictions: Predictions, truth: GroundTruth) -> dict[str, Evaluation]:
    """Evaluate the photos of each event by themselves.

    Parameters
    ----------
    predictions : mapping
        As `evaluate` takes them.
    truth : GroundTruth
        From `read_ground_truth`.

    Returns
    -------
    dict of str to Evaluation
        By event, in the order of their numbers.

    Raises
    ------
    EvaluationError
        As `evaluate` does.
    """
    events = sorted(
        {event(name) for name in predictions}, key=lambda name: (len(name.partition("--")[0]), name)
    )
    return {
        shown: evaluate({name: p for name, p in predictions.items() if event(name) == shown}, truth)
        for shown in events
    }
