"""Options that choose what stays of a history: restic's, with the same meanings."""

from __future__ import annotations

from typing import Annotated

import typer

from cyrsync.errors import UsageError
from cyrsync.history.retention import DEFAULT, Duration, Retention


def _checked(parameter: typer.CallbackParam, value: str | None) -> str | None:
    if value is not None:
        try:
            Duration.parse(value)
        except ValueError as error:
            raise UsageError(f"{parameter.opts[-1]} {value}: {error}") from None
    return value


def _number(what: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        min=0, metavar="N", help=f"prune: keep the state at the end of each of the last N {what}."
    )
    return option


KeepLast = Annotated[
    int | None, typer.Option(min=0, metavar="N", help="prune: keep the last N states of each mailbox and file.")
]
KeepWithin = Annotated[
    str | None,
    typer.Option(metavar="DURATION", callback=_checked, help="prune: keep every state of the last 7d, 36h, 1y6m."),
]
KeepHourly = Annotated[int | None, _number("hours")]
KeepDaily = Annotated[int | None, _number("days")]
KeepWeekly = Annotated[int | None, _number("weeks")]
KeepMonthly = Annotated[int | None, _number("months")]
KeepYearly = Annotated[int | None, _number("years")]
Grace = Annotated[
    str,
    typer.Option(
        metavar="DURATION", callback=_checked, help="prune: how long to keep messages that no kept state has any more."
    ),
]


def retention_of(
    keep_last: KeepLast = None,
    keep_within: KeepWithin = None,
    keep_hourly: KeepHourly = None,
    keep_daily: KeepDaily = None,
    keep_weekly: KeepWeekly = None,
    keep_monthly: KeepMonthly = None,
    keep_yearly: KeepYearly = None,
    grace: Grace = "1d",
) -> tuple[Retention, Duration]:
    """Return what is to stay, and the grace; without options, the defaults. Raise UsageError if nothing would stay.

    The parameters are those of a command, and keys of the configuration file.
    """
    numbers = {
        "last": keep_last,
        "hourly": keep_hourly,
        "daily": keep_daily,
        "weekly": keep_weekly,
        "monthly": keep_monthly,
        "yearly": keep_yearly,
    }
    given = {name: number for name, number in numbers.items() if number is not None}
    if keep_within is None and not given:
        return DEFAULT, Duration.parse(grace)
    found = Retention(within=Duration.parse(keep_within or "0h"), **given)
    if not found:
        raise UsageError("nothing would be kept: give one --keep-... that is not 0")
    return found, Duration.parse(grace)


def usual(name: str) -> str | int:
    """Return the default of a key of the configuration file."""
    found = getattr(DEFAULT, name.removeprefix("keep-"), "1d")
    return found if isinstance(found, int) else str(found)
