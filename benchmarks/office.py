"""What an office of many requests costs: importing a table, listing, counting, a step for all of them.

python -m benchmarks.office 2500 5000 10000
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path

LAWS = (("eu", "gdpr"), ("uk", "uk-gdpr"), ("us-va", "us-states"))


def table(count: int) -> str:
    """Requests of as many people, received over the last ten weeks, under three laws."""
    day = date.today()
    rows = (
        f"person-{n}@example.org,{day - timedelta(days=n % 70)},email,T-{n},{LAWS[n % len(LAWS)][0]}\n"
        for n in range(count)
    )
    return "subject,received,source,reference,jurisdiction\n" + "".join(rows)


def seconds(*arguments: str, folder: Path) -> float:
    """Of a processor, for a command, with the start of Python: what waits for others does not count."""
    begin = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [str(Path(sys.executable).with_name("unlearnkit")), "-q", *arguments]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own program
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    return end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime


def measured(count: int) -> list[float]:
    """Seconds of each command, in a workspace of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        policies = [item for _, policy in LAWS for item in ("--policy", policy)]
        seconds("init", *policies, folder=folder)
        (folder / "requests.csv").write_text(table(count))
        return [
            seconds("requests", "import", "requests.csv", folder=folder),
            seconds("requests", "list", folder=folder),
            seconds("requests", "list", "--csv", folder=folder),
            seconds("requests", "summary", folder=folder),
            seconds("requests", "acknowledge", "--open", folder=folder),
        ]


def main() -> None:
    """Print a row for each count."""
    print("| requests | import | list | list --csv | summary | acknowledge --open |\n|---|---|---|---|---|---|")
    for count in map(int, sys.argv[1:] or ["10000"]):
        print(f"| {count} | " + " | ".join(f"{value:.1f} s" for value in measured(count)) + " |", flush=True)


if __name__ == "__main__":
    main()
