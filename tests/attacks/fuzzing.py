"""A fuzzer of everything that is verified: bytes, structure and types; also signed and logged by who is dishonest.

What may come of an input is counted: an error of the tree with its exit code, or the verified value. Anything else is a
defect: another exception, and a value that is accepted though it is not the original one.
"""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from unlearnkit.cli.errors import EXIT_CODES

from tests.verifier.issuance import Issuer, issuer
from unlearnkit.bundle import Bundle
from unlearnkit.bundle.integrity import SIGNATURE
from unlearnkit.bundle.manifest import FILE_NAME
from unlearnkit.canonical import canonicalize, encode_base64, file_sha256_hex, sha256_hex
from unlearnkit.compliance.log.entry import START, Entry, advance, draft, encode_line
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.log.publication import prove_entry, publish_checkpoint
from unlearnkit.compliance.policy.policy import parse_policy
from unlearnkit.compliance.policy.trust import format_trust, parse_trust
from unlearnkit.errors import UnlearnkitError
from unlearnkit.signing.dsse import parse_envelope, sign_envelope
from unlearnkit.signing.model_signature import sign_listing
from unlearnkit.verifier.account import CERTIFICATE_ISSUED
from unlearnkit.verifier.evidence import Audit, sign_evidence
from unlearnkit.verifier.examination import Failure, examine
from unlearnkit.verifier.plan import UnitDeletions

ODD: list[Any] = [
    None, True, -1, 0, 1, 2**53 - 1, 1.5, 1e300, "", "x", "-0", "1e999999999", "NaN", "inf", "9" * 5000, "\x00", "\x9b",
    "../../x", "2025-02-30", [], {}, [[]], {"kind": "x"}, ["x"] * 3, [[[[[[[[[]]]]]]]]], "0" * 64, "é\u202e",
]  # fmt: skip


@dataclass
class Outcome:
    """What came of the inputs. defects: inputs that should not have ended so, in words."""

    counts: Counter[str] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)


class Office:
    """An honest office with everything that can be verified; and what a fuzzer changes of it."""

    def __init__(self, folder: Path) -> None:
        self.issuer: Issuer = issuer(folder)
        request = self.issuer.request("ann")
        self.certificate = self.issuer.issue(request)
        self.other = self.issuer.request("ben")
        publish_checkpoint(self.issuer.log, self.issuer.log_key)
        self.evidence = sign_evidence(_audit(self.issuer.bundle), [self.issuer.signer])
        self.files = {
            "certificate.json": self.certificate.raw,
            "evidence.json": self.evidence,
            "checkpoint": (folder / "log" / "checkpoint").read_bytes(),
            "entry.tlog-proof": prove_entry(folder / "log", 1, log=self.issuer.log_key.public),
            "trust.toml": format_trust(self.issuer.trust).encode(),
            "policy.toml": self.issuer.policy.text.encode(),
            "log/log.jsonl": (folder / "log" / "log.jsonl").read_bytes(),
            **{f"bundle/{name}": raw for name, raw in _contents(folder / "bundle").items()},
        }
        self.place = folder / "fuzzed"

    def inputs(self, draw: random.Random) -> Iterator[tuple[str, Callable[[], object]]]:
        """Endless inputs: what each is, and what judges it; the judge returns True for what is as it was."""
        kinds = [self._file, self._certificate, self._evidence, self._manifest, self._log]
        while True:
            yield draw.choice(kinds)(draw)

    def _file(self, draw: random.Random) -> tuple[str, Callable[[], object]]:
        name = draw.choice(list(self.files))
        old = self.files[name]
        new = _changed(draw, old)
        return f"{name}: {_difference(old, new)}", lambda: self._judge(name, new)

    def _judge(self, name: str, raw: bytes) -> object:
        """Verify one file that was changed, with all others as they were."""
        if name == "trust.toml":
            return parse_trust(raw, where=name) is None or True  # whoever writes it is trusted
        if name == "policy.toml":
            return parse_policy(raw, where=name) is None or True
        folder = name.split("/", maxsplit=1)[0] if "/" in name else ""
        with self._written(name, raw) as root:
            beside = self.issuer.materials()
            if folder == "log":
                shutil.copy(self.issuer.folder / "log" / "checkpoint", root / "log")
            found = examine(root / (folder or name), beside)
        if isinstance(found, Failure):
            raise found.error
        return raw == self.files[name] or (name == "log/log.jsonl" and self._same_log(raw))

    def _same_log(self, raw: bytes) -> bool:
        """An unfinished line at the end is nobody's entry."""
        return raw[: raw.rfind(b"\n") + 1] == self.files["log/log.jsonl"]

    @contextmanager
    def _written(self, name: str, raw: bytes) -> Iterator[Path]:
        shutil.rmtree(self.place, ignore_errors=True)
        for other, old in self.files.items():
            if other == name or other.split("/")[0] == name.split("/", maxsplit=1)[0] != other:
                file = self.place / other
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(raw if other == name else old)
        yield self.place

    def _certificate(self, draw: random.Random) -> tuple[str, Callable[[], object]]:
        """An altered certificate, signed and logged again."""
        statement = json.loads(parse_envelope(self.certificate.raw, where="c").unverified_payload)
        told = _alter(draw, statement["predicate"] if draw.random() < 0.8 else statement)
        return f"certificate signed again: {told}", lambda: self._issued(statement)

    def _issued(self, statement: Any) -> object:
        raw = self._signed(statement)
        body = dict(self.certificate.entry.body) | {"certificate": sha256_hex(raw)}
        with self._copied_log() as log:
            log.record_many([draft(CERTIFICATE_ISSUED, body)])
            publish_checkpoint(log, self.issuer.log_key)
            place = log.path.parent / "certificate.json"
            place.write_bytes(raw)
            found = examine(place, self.issuer.materials(log=log.path))
        if isinstance(found, Failure):
            raise found.error
        original = json.loads(parse_envelope(self.certificate.raw, where="c").unverified_payload)
        return _values(statement) == _values(original)  # signed twice, or with a number in another spelling

    def _evidence(self, draw: random.Random) -> tuple[str, Callable[[], object]]:
        """Altered evidence, signed again: numbers of retrainings nobody can check, everything else must be so."""
        statement = json.loads(parse_envelope(self.evidence, where="e").unverified_payload)
        told = _alter(draw, statement["predicate"])
        return f"evidence signed again: {told}", lambda: self._attested(statement)

    def _attested(self, statement: Any) -> object:
        raw = self._signed(statement)
        with self._written("evidence.json", raw) as root:
            found = examine(root / "evidence.json", self.issuer.materials())
        if isinstance(found, Failure):
            raise found.error
        audit = found.value.audit
        original = _audit(self.issuer.bundle)
        return replace(audit, probes=original.probes, software=original.software) is not None and (
            (audit.bundle, audit.deletions, audit.recipe) == (original.bundle, original.deletions, original.recipe)
        )

    def _manifest(self, draw: random.Random) -> tuple[str, Callable[[], object]]:
        """An altered manifest, or file of the bundle, in a bundle that is signed again."""
        manifest = json.loads(self.files[f"bundle/{FILE_NAME}"])
        told = _alter(draw, manifest)
        return f"bundle signed again: {told}", lambda: self._resigned(manifest)

    def _resigned(self, manifest: Any) -> object:
        raw = canonicalize(manifest)
        with self._written(f"bundle/{FILE_NAME}", raw) as root:
            path = root / "bundle"
            (path / SIGNATURE).unlink()
            listed = {name: file_sha256_hex(path / name) for name in _contents(path)}
            (path / SIGNATURE).write_bytes(sign_listing(listed, name="bundle", signers=[self.issuer.signer]))
            bundle = Bundle.open(path, trust=[self.issuer.signer.public])
            for name in bundle.probe_names:
                bundle.probe(name).predict([bundle.units[0]])
        return True  # what a signer says of a recipe, or calls a probe, is theirs to say

    def _log(self, draw: random.Random) -> tuple[str, Callable[[], object]]:
        """An entry that was altered or made up, chained and signed again."""
        lines = [json.loads(line) for line in self.files["log/log.jsonl"].splitlines()]
        which = draw.randrange(len(lines))
        told = _alter(draw, lines[which])
        return f"log signed again, entry {which}: {told}", lambda: self._relogged(lines)

    def _relogged(self, lines: list[Any]) -> object:
        with self._copied_log() as log:
            (log.path / "log.jsonl").write_bytes(b"".join(_chained(list(log.entries()), lines)))
            (log.path / "checkpoint").unlink()
            (log.path.parent / "log.signed").unlink(missing_ok=True)
            publish_checkpoint(AuditLog(log.path, now=self.issuer.log.now), self.issuer.log_key)
            found = examine(log.path, self.issuer.materials(log=log.path))
            place = log.path.parent / "certificate.json"
            place.write_bytes(self.certificate.raw)
            examined = examine(place, self.issuer.materials(log=log.path))
        if isinstance(found, Failure):
            raise found.error
        if isinstance(examined, Failure):
            raise examined.error
        return True  # a log in which every step is legal, signed by its key

    def _signed(self, statement: Any) -> bytes:
        payload = canonicalize(statement)
        return sign_envelope(payload, payload_type="application/vnd.in-toto+json", signers=[self.issuer.signer])

    @contextmanager
    def _copied_log(self) -> Iterator[AuditLog]:
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.issuer.folder / "log", self.place / "log")
        yield AuditLog(self.place / "log", now=self.issuer.log.now)


def fuzz(office: Office, *, seed: int, count: int) -> Outcome:
    """Try ``count`` inputs."""
    outcome, inputs = Outcome(), office.inputs(random.Random(seed))
    for _ in range(count):
        told, judge = next(inputs)
        try:
            outcome.counts["accepted" if judge() else "accepted, but different"] += 1
        except UnlearnkitError as err:
            code = next((code for kind, code in EXIT_CODES.items() if isinstance(err, kind)), 1)
            outcome.counts[f"exit code {code}"] += 1
            continue
        except (ValueError, TypeError) as err:
            if "JSON" in str(err) or "a key" in str(err):  # nobody can write this input
                outcome.counts["cannot be written"] += 1
                continue
            outcome.defects.append(f"{told}: {type(err).__name__}: {err}")
        except Exception as err:  # noqa: BLE001  what is looked for
            outcome.defects.append(f"{told}: {type(err).__name__}: {err}")
        if outcome.counts["accepted, but different"]:
            outcome.defects.append(f"{told}: accepted, but different")
            outcome.counts["accepted, but different"] = 0
    return outcome


def _chained(entries: list[Entry], lines: list[Any]) -> Iterator[bytes]:
    """Lines that say what ``lines`` do, as far as a line can, each after the one before it."""
    position = START
    for old, new in zip(entries, lines, strict=True):
        try:
            item = draft(new["type"], new["body"])
        except (KeyError, ValueError, TypeError, AttributeError):
            item = draft(old.type, old.body)
        time = str(new.get("time", "")).encode("ascii", "replace").decode()
        line = encode_line(item, position=position, time=time)
        yield line
        position = advance(position, line)


def _audit(bundle: Bundle) -> Audit:
    probes = {name: np.stack([bundle.probe(name).base] * 3) for name in bundle.probe_names}
    return Audit.of(bundle, UnitDeletions(least=1, most=2), probes)


def _contents(path: Path) -> dict[str, bytes]:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}


def _changed(draw: random.Random, raw: bytes) -> bytes:
    """The bytes with something flipped, taken out, put in, moved, zeroed or cut."""
    at, length = draw.randrange(len(raw) + 1), draw.choice([1, 1, 2, 8, 100, 512])
    other = draw.randrange(len(raw) + 1)
    choices = [
        raw[:at] + bytes([raw[at] ^ 1 << draw.randrange(8)]) + raw[at + 1 :] if at < len(raw) else raw[:-1],
        raw[:at] + raw[at + length :],
        raw[:at] + draw.randbytes(length) + raw[at:],
        raw[:at] + raw[other : other + length] + raw[at:],
        raw[:at] + bytes(len(raw[at : at + length])) + raw[at + length :],
        raw[:at],
        raw[:at] + draw.choice([b"[" * 5000, b"9" * 5000, b"\n" * 9, b"e999999999", b'"', b"\xff", b"{}"]) + raw[at:],
    ]
    return draw.choice(choices)


def _alter(draw: random.Random, value: Any) -> str:
    """Change one place in a JSON value; and say which and how."""
    places = list(_places(value, ()))
    container, key, path = draw.choice(places)
    old = container[key]
    choice = draw.randrange(5)
    if choice == 0 and isinstance(container, dict):
        del container[key]
        return f"{path} removed"
    if choice == 1 and isinstance(container, list):
        container.append(old)
        return f"{path} twice"
    if choice == 2 and isinstance(old, int | float) and not isinstance(old, bool):
        container[key] = draw.choice([old + 1, -old, old * 1.5, 2**53 - 1])
    elif choice == 3 and isinstance(old, str) and old:
        container[key] = draw.choice([old[:-1], old + "0", old.upper(), old[::-1], encode_base64(old.encode())])
    else:
        container[key] = draw.choice(ODD)
    return f"{path} = {container[key]!r:.80}"


def _values(value: Any) -> Any:
    """The value, with texts that are numbers as numbers, to the digits that two machines agree on."""
    if isinstance(value, dict):
        return {key: _values(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_values(item) for item in value]
    try:
        return float(f"{float(value):.9g}") if isinstance(value, str) else value
    except ValueError:
        return value


def _places(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, Any, tuple[Any, ...]]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key, (*path, key)
        yield from _places(item, (*path, key))


def _difference(old: bytes, new: bytes) -> str:
    at = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    return f"byte {at}, {old[at : at + 20]!r} -> {new[at : at + 20]!r}, {len(new) - len(old):+d} bytes"
