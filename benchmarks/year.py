"""A year in an office: requests under three laws, two retrainings, answers, letters, a purge, by the commands.

    python -m benchmarks.year

Every command is the one that an officer types, with the clock moved to its day; none is undone or repaired by hand. The
register's page of each month is written by the same command on the month's last day, as cron would.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from click.testing import CliRunner
from unlearnkit.cli.main import main

from unlearnkit.compliance.log import clock
from unlearnkit.compliance.policy.policy import packaged_policies

LAWS = {"eu": "gdpr", "uk": "uk-gdpr", "us-va": "us-states"}
SHARES = (0.1, 0.45, 0.45)
"""Of the requests, in three waves: of the first some are answered by the effect; all others by a retraining each."""
WAVES = (date(2026, 1, 12), date(2026, 2, 2), date(2026, 9, 14))
_RECIPE = Path(__file__).with_name("year_recipe.py")
_AUDIT = """\
[audit]
content = 0.9
confidence = 0.9
strata = [
  {{ least = 1, most = 4, count = {count} }},
  {{ least = 5, most = {most}, count = {count} }},
]
"""


@dataclass
class Officer:
    """Types commands in a workspace, on days. typed: what was typed, and how long it took."""

    folder: Path
    today: date = WAVES[0]
    typed: list[tuple[str, float]] = field(default_factory=list)
    pages: list[Path] = field(default_factory=list)

    def types(self, *arguments: str) -> str:
        """Run a command; RuntimeError if it does not succeed."""
        begin = time.perf_counter()
        result = CliRunner().invoke(main, arguments)
        if result.exit_code:
            raise RuntimeError(f"{' '.join(arguments)} on {self.today}: {result.output}") from result.exception
        self.typed.append((" ".join(arguments), time.perf_counter() - begin))
        return result.stdout

    def on(self, day: date) -> None:
        """The clock moves to this day; on the last day of each month on the way, cron writes the register's page."""
        while self.today < day:
            self.today += timedelta(days=1)
            if (self.today + timedelta(days=1)).day == 1 and self.today.year == WAVES[0].year:
                page = self.folder / f"register-{self.today:%Y-%m}.html"
                CliRunner().invoke(main, ["report", "--register", "-o", str(page)], catch_exceptions=False)
                self.pages.append(page)

    def now(self) -> datetime:
        """Noon of the day."""
        return datetime(self.today.year, self.today.month, self.today.day, 12, tzinfo=UTC)


def policies(folder: Path, count: int, most: int) -> list[Path]:
    """The packaged policies of the three laws, with an audit of fewer retrainings."""
    found = []
    for name in LAWS.values():
        text = packaged_policies()[name].decode()
        head, _, rest = text.partition("[audit]\n")
        after = rest[rest.index("\n]\n") + 3 :]
        path = folder / f"{name}.toml"
        path.write_text(head + _AUDIT.format(count=count, most=most) + after)
        found.append(path)
    return found


def waves(total: int) -> list[list[str]]:
    """Who asks, in each wave."""
    sizes = [round(total * share) for share in SHARES]
    people = iter(f"person-{number:04}@example.org" for number in range(total))
    return [[next(people) for _ in range(size)] for size in sizes]


def table(people: list[str], begin: date) -> str:
    """A wave as a table: the three laws in turn, received in the week before."""
    rows = ["reference,subject,jurisdiction,received,source"]
    for number, name in enumerate(people):
        law = list(LAWS)[number % 3]
        rows.append(f"T-{name[7:11]},{name},{law},{begin - timedelta(days=number % 7)},web-form")
    return "\n".join(rows) + "\n"


def live_through(office: Officer, total: int, *, count: int) -> None:
    """The year. count: retrainings of each stratum of the audit."""
    folder, asking = office.folder, waves(total)
    laws = policies(folder.parent, count, max(10, len(asking[0])))
    office.types(
        "init", ".", "--origin", "example.com/log", *(part for path in laws for part in ("--policy", str(path)))
    )
    with (folder / "unlearnkit.toml").open("a") as settings:
        settings.write('[sender]\nname = "Example Ltd"\ncontact = "privacy@example.org"\nauthority = "the Authority"\n')
    release(office, 1)
    office.types("audit", "retrain", "bundle-1", recipe(1))
    take_in(office, asking[0], WAVES[0])
    answer_by_effect(office)
    for number in (2, 3):
        begin = WAVES[number - 1]
        office.on(begin)
        take_in(office, asking[number - 1], begin)
        office.on(begin + timedelta(days=7))
        release(office, number)
        answer_by_exclusion(office, number)
    office.on(date(WAVES[0].year, 12, 31))
    office.on(date(2029, 10, 1))
    office.types("requests", "purge", "--due", "--yes")
    office.types("log", "checkpoint")


def recipe(number: int) -> str:
    """The recipe of the release of a number: a function of a file."""
    return f"{_RECIPE}:release_{number}"


def release(office: Officer, number: int) -> None:
    """Sketch a training, and take its model in use, in the place of the one before."""
    office.types("sketch", recipe(number), "-o", f"bundle-{number}", "--reverse", "test_loss:8:8", "--solo", "3")
    before = ["--replaces", f"model@{number - 1}"] if number > 1 else []
    office.types("release", "add", f"bundle-{number}", "--name", "model", "--version", str(number), *before)


def take_in(office: Officer, people: list[str], begin: date) -> None:
    """A wave, from its table to verified identities."""
    (office.folder / f"requests-{begin}.csv").write_text(table(people, begin))
    office.types("requests", "import", f"requests-{begin}.csv")
    office.types("requests", "acknowledge", "--where", "state=received")
    office.types("requests", "verify-identity", "--where", "state=acknowledged", "--method", "email-confirmation")


def answer_by_effect(office: Officer) -> None:
    """One certificate, of the first law; whoever asked under another waits for the next training, which is soon."""
    law, file = next(iter(LAWS)), "effect.certificate.json"
    office.types("certify", "--open", "--where", f"jurisdiction={law}", "-o", file)
    office.types(
        "requests", "fulfil", "--where", f"jurisdiction={law}", "--method", "negligible-effect", "--evidence", file
    )
    office.types("requests", "letter", "--where", "state=fulfilled", "completion", "-o", "letters-1")


def answer_by_exclusion(office: Officer, number: int) -> None:
    """One certificate for each law, by one command, and all answers at once."""
    made = office.folder / f"exclusions-{number}"
    made.mkdir()
    office.types("certify", "--open", "--kind", "exclusion", "--each-policy", "-o", made.name)
    evidence = [part for file in sorted(made.iterdir()) for part in ("--evidence", str(file))]
    office.types("requests", "fulfil", "--open", "--method", "retrained", "--notified", "processors", *evidence)
    after = WAVES[number - 1] - timedelta(days=8)
    office.types(
        "requests", "letter", "--where", f"state=fulfilled,received>{after}", "completion", "-o", f"letters-{number}"
    )


def at_work(folder: Path, total: int, *, count: int, moved: Callable[[Officer], None]) -> Officer:
    """An officer in a new folder, through the year. moved: lets the officer's clock be the one that commands read."""
    folder.mkdir(parents=True)
    office = Officer(folder)
    moved(office)
    live_through(office, total, count=count)
    return office


if __name__ == "__main__":
    import os

    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--requests", type=int, default=300)
    arguments.add_argument("--count", type=int, default=22, help="retrainings of each stratum of the audit")
    given = arguments.parse_args()
    os.environ["YEAR_REQUESTS"] = str(given.requests)

    def _move(office: Officer) -> None:
        os.chdir(office.folder)
        clock.utc_now = office.now

    with TemporaryDirectory() as scratch:
        begin = time.perf_counter()
        lived = at_work(Path(scratch) / "office", given.requests, count=given.count, moved=_move)
        for command, seconds in lived.typed:
            print(f"{seconds:7.1f} s  {command[:110]}")
        took = time.perf_counter() - begin
        print(f"{len(lived.typed)} commands, {len(lived.pages)} pages of the register, {took:.0f} s")
