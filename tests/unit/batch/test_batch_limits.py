import pytest

from featherface_batch.errors import TooManyErrorsError, UsageError
from featherface_batch.limits import ErrorLimit
from featherface_batch.records import Tally


@pytest.mark.parametrize(
    ("text", "errors", "stops"),
    [
        ("0", 0, False),
        ("0", 1, True),
        ("5", 5, False),
        ("5", 6, True),
        ("2.5%", 25, False),
        ("2.5%", 26, True),
    ],
)
def test_the_limit_is_what_may_fail(text: str, errors: int, stops: bool) -> None:
    limit = ErrorLimit.parse(text)
    if stops:
        with pytest.raises(TooManyErrorsError, match=f"{errors} of 500 photos"):
            limit.check(Tally(500, errors), 1000)
    else:
        limit.check(Tally(500, errors), 1000)


def test_without_a_limit_everything_may_fail() -> None:
    ErrorLimit().check(Tally(10, 10), 10)


@pytest.mark.parametrize("text", ["", "-1", "many", "101%", "-1%", "%", "1.5", "nan%"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--max-errors takes"):
        ErrorLimit.parse(text)
