"""``unlearnkit report``: nothing is written that did not verify, and what was not verified is called so."""

from __future__ import annotations

import html
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from unlearnkit.cli.main import RootGroup
from unlearnkit.cli.output import Output
from unlearnkit.cli.report import report

from tests import needs
from tests.report.pages import read
from tests.verifier.issuance import issuer
from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.log.publication import publish_checkpoint
from unlearnkit.signing.dsse import parse_envelope, sign_envelope
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.signing.statement import PAYLOAD_TYPE


@dataclass(frozen=True)
class Case:
    """A certificate and everything that it takes to check it."""

    folder: Path
    certificate: Path
    signer: PrivateKey

    @property
    def beside(self) -> list[str]:
        return ["--bundle", str(self.folder / "bundle"), "--log", str(self.folder / "log"), *self.trust]

    @property
    def trust(self) -> list[str]:
        return ["--trust", str(self.folder / "signer.pub.pem"), "--trust", str(self.folder / "log.vkey")]

    def run(self, *arguments: str, certificate: Path | None = None, json: bool = False) -> Result:
        root = RootGroup("unlearnkit", commands=[report])
        path = str(certificate or self.certificate)
        return CliRunner().invoke(root, ["report", path, *arguments], obj=Output(json=json))


@pytest.fixture
def case(tmp_path, monkeypatch) -> Case:
    monkeypatch.chdir(tmp_path)
    office = issuer(tmp_path)
    (tmp_path / "signer.pub.pem").write_bytes(office.signer.public.pem)
    (tmp_path / "log.vkey").write_text(office.log_key.public.vkey + "\n")
    issued = office.issue(office.request())
    publish_checkpoint(office.log, office.log_key)
    (tmp_path / "c.json").write_bytes(issued.raw)
    return Case(tmp_path, tmp_path / "c.json", office.signer)


def test_everything_is_verified_and_recomputed_first(case):
    result = case.run("-o", "r.html", *case.beside)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == "VERIFIED AND RECOMPUTED: r.html"
    assert result.stderr == ""
    root = read(Path("r.html").read_text())
    assert "Verified and recomputed for this report" in root.by_id("verdict").text
    assert "R2: received 2025-03-05, due 2025-04-07, still open" in root.by_id("verdict").text  # 5 April is a Saturday
    names = [row.one("th").text for row in root.by_id("verify").parent.all("table")[0].all("tr")]
    assert names == [
        "Signature",
        "Bundle",
        "Artefacts",
        "Log",
        "Release",
        "Sketch",
        "Request",
        "Standing set",
        "Delta budget",
        "Audits",
        "Numbers",
        "Decision",
    ]
    assert sha256_hex(case.certificate.read_bytes()) in root.text


def test_a_trusted_key_alone_verifies_the_signature_alone(case):
    result = case.run("-o", "r.html", *case.trust)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("SIGNATURE VERIFIED, NUMBERS NOT RECOMPUTED: r.html\n  ok    signature: signed by")
    assert "NOT RECOMPUTED" in result.stderr
    assert "Signature verified, numbers not recomputed" in Path("r.html").read_text()


def test_without_a_trusted_key_the_page_and_the_command_say_unverified(case):
    result = case.run("-o", "r.html")
    assert result.exit_code == 0, result.output
    assert "UNVERIFIED" in result.stdout
    assert "UNVERIFIED" in result.stderr
    assert "UNVERIFIED" in read(Path("r.html").read_text()).by_id("verdict").text


@pytest.mark.parametrize("extent", ["everything", "signature", "nothing"])
def test_the_document_says_what_was_checked(case, extent):
    options = {"everything": case.beside, "signature": case.trust, "nothing": []}[extent]
    document = json.loads(case.run("-o", "r.html", *options, json=True).stdout)
    assert (document["schema"], document["path"]) == ("unlearnkit/report/v1", "r.html")
    assert (document["verified"], document["extent"]) == (extent == "everything", extent)
    assert len(document["checks"]) == {"everything": 12, "signature": 1, "nothing": 0}[extent]
    assert all(check["passed"] for check in document["checks"])


def test_what_does_not_verify_gets_no_page(case):
    stranger = PrivateKey.generate(Algorithm.P256)
    Path("stranger.pem").write_bytes(stranger.public.pem)
    result = case.run("-o", "r.html", "--trust", "stranger.pem")
    assert result.exit_code == 4
    assert "unlearnkit: error:" in result.stderr
    assert not Path("r.html").exists()


def test_a_lowered_epsilon_that_is_signed_again_gets_no_page_when_it_is_recomputed(case):
    payload = parse_envelope(case.certificate.read_bytes(), where="c").unverified_payload
    lowered = re.sub(rb'"epsilon":\["[^"]+', b'"epsilon":["0.000001', payload)
    assert lowered != payload
    forged = Path("forged.json")
    forged.write_bytes(sign_envelope(lowered, payload_type=PAYLOAD_TYPE, signers=[case.signer]))
    assert case.run("-o", "r.html", *case.beside, certificate=forged).exit_code == 4
    assert not Path("r.html").exists()


def test_a_page_is_never_overwritten(case):
    Path("r.html").write_text("mine")
    result = case.run("-o", "r.html", *case.beside)
    assert result.exit_code == 1
    assert "not overwritten: r.html" in result.stderr
    assert Path("r.html").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--log", "log"], 2, "take --bundle"),
        (["--evidence", "c.json"], 2, "take --bundle"),
        (["--bundle", "bundle", "--log", "log"], 4, "no key is trusted"),
        (["--bundle", "bundle", "--trust", "signer.pub.pem"], 1, "give its folder: --log"),
        (["--bundle", "bundle", "--log", "log", "--trust", "signer.pub.pem"], 1, "no trusted key for the log"),
    ],
)
def test_what_is_missing_is_said(case, options, code, message):
    result = case.run("-o", "r.html", *options)
    assert result.exit_code == code
    assert message in result.stderr
    assert not Path("r.html").exists()


def test_what_is_no_certificate_is_malformed(case):
    Path("x.json").write_text("{}")
    result = case.run("-o", "r.html", certificate=Path("x.json"))
    assert result.exit_code == 3
    assert not Path("r.html").exists()


@needs.program("jq", "openssl", "base64")
def test_the_commands_on_the_page_verify_the_signature_with_openssl(case):
    case.run("-o", "r.html")
    commands = html.unescape(read(Path("r.html").read_text()).by_id("openssl").raw_text)
    verified = subprocess.run(["bash", "-euc", commands], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stdout) == (0, "Verified OK\n")
    other = PrivateKey.generate(Algorithm.P256)
    Path("signer.pub.pem").write_bytes(other.public.pem)
    assert subprocess.run(["bash", "-euc", commands], capture_output=True, check=False).returncode != 0


def test_the_command_on_the_page_finds_the_certificate_in_the_log(case):
    case.run("-o", "r.html")
    (command,) = re.findall(r"<code>(grep -c .*?)</code>", Path("r.html").read_text())
    found = subprocess.run(
        ["bash", "-c", html.unescape(command).replace("LOG/", "log/")], capture_output=True, text=True, check=True
    )
    assert found.stdout == "1\n"
