import pytest

from featherface_batch.reasons import reason_of

RAY = """ray.exceptions.UserCodeException: UDF failed to process a data block.
Failed to apply UDF transform after 1/1 attempts (total backoff 0.0s).
To change retry attempts, backoff, or which errors are retried, configure `ray.data.DataContext`."""
BECAUSE = "\n\nThe above exception was the direct cause of the following exception:\n\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            f"Traceback\n  File\nPermissionError: [Errno 13] 'x'{BECAUSE}{RAY}",
            "PermissionError: [Errno 13] 'x'",
        ),
        # the last of ours, not what it was raised from
        (
            f"OSError: full{BECAUSE}featherface_batch.errors.StorageError: no room{BECAUSE}{RAY}",
            "featherface_batch.errors.StorageError: no room",
        ),
        ("Traceback\nKeyboardInterrupt", "KeyboardInterrupt"),
        ("The actor died because its node is gone.", "The actor died because its node is gone."),
        ("", "RuntimeError"),
    ],
)
def test_the_reason_is_what_was_raised_and_not_ray_s_advice(text: str, reason: str) -> None:
    assert reason_of(RuntimeError(text)) == reason
