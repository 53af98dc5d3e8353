"""Verifying one certificate beside a long log, and alone with its proof: time, and memory at the most.

    python benchmarks/verification.py [--entries N] [--directory DIR]

The bundle is that of the digits example, every probe swept. The log has N entries: people who ask, are
identified, assessed, and withdraw. Each verification is a process of its own, so that its memory is its own. Takes some
minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from log import scratch, timed  # type: ignore[import-not-found]  # beside this file

import unlearnkit as uk
from unlearnkit.compliance.log.entry import Draft, draft
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.verifier.examination import Failure, examine
from unlearnkit.verifier.materials import Materials

STEPS = 5  # entries of each person
BATCH = 10_000
STATUS = Path("/proc/self/status")  # Linux: what `getrusage` says of a process begins with what its parent had


def main() -> None:
    """Make an office with a certificate, lengthen its log, certify once more, and verify that."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000, help="length of the log (default: 1000000)")
    parser.add_argument("--directory", type=Path, default=Path.cwd(), help="where to write (default: here)")
    parser.add_argument("--verify", nargs=3, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.verify:
        measured(*arguments.verify)
        return
    with scratch(arguments.directory) as folder:
        office = made(folder)
        requests = office.receive(["person-017", "somebody"], source="experiment")
        print(f"filling: {timed(lambda: fill(office, arguments.entries)):.0f} s", flush=True)
        bundle = office.root / "bundle"
        issued = office.certify(requests[:1], bundle=bundle)
        size = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file())
        length = (office.log_path / "log.jsonl").stat().st_size
        entries = issued.entry.index + 1 if issued.entry else 0
        print(f"bundle: {size / 2**20:.1f} MiB; log: {entries} entries, {length / 2**20:.0f} MiB", flush=True)
        for name, log in (("beside the log", office.log_path), ("alone", Path("-"))):
            command = [sys.executable, __file__, "--verify", str(office.root), str(issued.path), str(log)]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd="/").stdout)  # noqa: S603
            print(
                f"{name}: {found['seconds']:.2f} s ({found['processor']:.2f} s of a processor), "
                f"{found['most']:.0f} MiB at the most; {found['result']}: {found['checks']}",
                flush=True,
            )


def made(folder: Path) -> uk.Workspace:
    """A workspace with the bundle of the digits example in use."""
    from unlearnkit.examples import digits  # noqa: PLC0415  brings torch, which verifying does without

    office = uk.Workspace.create(folder / "office", origin="benchmark.example/log", policy="research")
    recipe = digits.recipe()
    bundle = office.sketch(recipe, office.root / "bundle", progress=False)
    office.register(bundle, name="digits", version="1")
    return office


def fill(office: uk.Workspace, entries: int) -> None:
    """Record people who ask and withdraw until the log has so many entries, that of the certificate among them."""
    view, log = office.view(), AuditLog.open(office.log_path)
    *_, received = view.of_type("request-received")
    at = len(view)
    while at + STEPS < entries:
        count = min(BATCH, entries - 1 - at) // STEPS
        log.record_many(people(dict(received.body), at, count))
        at += count * STEPS


def people(body: dict[str, object], begin: int, count: int) -> Iterator[Draft]:
    """The entries about so many people, the first of which stands at ``begin``."""
    on = body["received"]
    for number in range(count):
        at = begin + number * STEPS
        step = {"request": f"R{at}", "by": body["by"], "on": on}
        yield draft("request-received", {**body, "subject": hashlib.sha256(str(at).encode()).hexdigest()})
        yield draft("request-acknowledged", step)
        yield draft("request-identity-verified", {**step, "method": "not-needed"})
        yield draft("request-assessed", {**step, "decision": "fulfil"})
        yield draft("request-withdrawn", {**step, "reason": "requested-by-person", "retain_until": on})


def measured(root: Path, certificate: Path, log: Path) -> None:
    """Verify, and print what it took."""
    begin, worked = time.perf_counter(), time.process_time()
    place = None if str(log) == "-" else log
    beside = Materials.at_hand(bundle=root / "bundle", log=place, trust=[root / "trust.toml"])
    found = examine(certificate, beside)
    seconds, processor = time.perf_counter() - begin, time.process_time() - worked
    (most,) = (int(line.split()[1]) / 1024 for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    checks = ", ".join(check.name for check in found.checks)
    result = f"FAILED, {found.error}" if isinstance(found, Failure) else "verified"
    print(json.dumps({"seconds": seconds, "processor": processor, "most": most, "checks": checks, "result": result}))


if __name__ == "__main__":
    main()
