"""Letters: every word of a policy in words for people, one page, and nothing that the log does not say."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import unlearnkit.policies

from tests.compliance.requests.desks import CCPA, GDPR, KEY, Clock, desk_of, new_log
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.policy.policy import packaged_policies, parse_policy
from unlearnkit.compliance.settings import Sender
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError, UnknownNameError
from unlearnkit.office.letters import Kind, write_letter
from unlearnkit.report.letters import WIDTH, Letters

LANGUAGES = ("en", "de")
SENDER = Sender(
    name="Example Ltd", address=("1 Example Street", "Exampletown"), contact="p@example.org", authority="the Authority"
)
CERTIFICATE, EXCLUSION, ABSENCE, DOCUMENT = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
PAGE = 58  # lines of 76 columns in 11 points on A4
ENDINGS = {"negligible-effect": CERTIFICATE, "retrained": EXCLUSION, "no-data-held": ABSENCE}
ARTEFACTS = {"bundle": "1" * 64, "model": "2" * 64, "recipe": "3" * 64, "units": "4" * 64, "key": KEY.fingerprint}


@pytest.fixture
def log(tmp_path):
    return new_log(tmp_path / "log", Clock())


@pytest.fixture
def desk(log):
    """Two releases, the second in the place of the first; certificates of R4; what is a certificate counts as one."""
    made = desk_of(log)
    made._gate = lambda request, said, end, policy: "attestation" if DOCUMENT in said.evidence else "certificate"
    by = {"by": "engineer", "on": "2025-03-04"}
    log.record("release-registered", {"name": "digits", "version": "1", "artefacts": ARTEFACTS, **by})
    changed = {**ARTEFACTS, "bundle": "5" * 64, "model": "6" * 64}
    log.record(
        "release-registered",
        {
            "name": "digits",
            "version": "2",
            "artefacts": changed,
            "replaces": "digits@1",
            "by": "engineer",
            "on": "2025-03-05",
        },
    )
    made.receive(["ann@example.org"], source="email", on=date(2025, 3, 1))
    common = {"requests": ["R3"], "policy_digest": GDPR.digest}
    log.record(
        "certificate-issued",
        {
            **common,
            "account": "7" * 64,
            "bundle": "5" * 64,
            "certificate": CERTIFICATE,
            "decision": "keep",
            "release": "digits@2",
            "questions": [{"question": "8" * 64, "delta": "0.02"}, {"question": "9" * 64, "delta": "0.005"}],
        },
    )
    log.record("exclusion-issued", {**common, "certificate": EXCLUSION, "releases": ["digits@2"], "before": "digits@1"})
    log.record("absence-issued", {**common, "certificate": ABSENCE, "releases": ["digits@2"]})
    return made


def written(log, kind: str, language: str = "en", *, policy=GDPR, folder=None) -> str:
    view = LogView.read(log.path)
    letters = Letters(language, folder)
    request = view.register.get("R3")
    today = date(2025, 3, 5)
    return write_letter(request, Kind(kind), view=view, policy=policy, sender=SENDER, letters=letters, today=today)


def plain(text: str) -> str:
    return " ".join(text.split())


def ended(desk, method: str, evidence: str, **members) -> None:
    desk.verify_identity("R3", method="in-person")
    desk.fulfil("R3", method=method, evidence=[evidence], **members)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", packaged_policies())
def test_every_word_that_a_person_is_told_has_words_in_every_language(language, name):
    words, policy = Letters(language).words, parse_policy(packaged_policies()[name], where=name)
    for word in policy.words.identity_methods:
        assert words.say("identity", word)
    for word in (*policy.words.extension_reasons, *policy.words.refusal_reasons):
        assert len(words.say("reasons", word)) > 10
    for word in policy.words.recipients:
        assert words.say("recipients", word)
    assert "the Authority" in words.rights_in(policy.jurisdiction, "the Authority")


@pytest.mark.parametrize("name", packaged_policies())
def test_every_rule_of_a_deadline_that_has_english_words_has_german_ones(name):
    words, policy = Letters("de").words, parse_policy(packaged_policies()[name], where=name)
    for place in (None, *policy.places):
        for clock in ("respond", "extended", "appeal_extended"):
            found = policy.deadline(clock, place)
            assert found is None or not re.search("extended|analogy|days|law|study", words.rule(found.rule)), found


def test_every_language_has_the_same_letters_and_words():
    english, german = (Letters(language) for language in LANGUAGES)
    for kind in ("identity", "reasons", "recipients", "rights"):
        assert getattr(english.words, kind).keys() == getattr(german.words, kind).keys()
    assert len({*english.words.months}) == len({*german.words.months}) == 12


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_letter_is_one_page_of_plain_lines(log, desk, language):
    texts = [written(log, kind, language) for kind in ("receipt", "identity", "recipients")]
    desk.extend("R3", reason="complexity")
    texts.append(written(log, "extension", language))
    for method, evidence in ENDINGS.items():
        fresh = desk_of(new_log(log.path.parent / method, Clock()))
        fresh.receive(["ann"], source="email")
        fresh.verify_identity("R1", method="in-person")
        fresh.fulfil("R1", method=method, evidence=[evidence], notified=["processors"], records=3)
        view = LogView.read(log.path.parent / method)
        texts.append(
            write_letter(
                view.register.get("R1"),
                Kind.COMPLETION,
                view=view,
                policy=GDPR,
                sender=SENDER,
                letters=Letters(language),
                today=date(2025, 3, 5),
            )
        )
    desk.refuse("R3", reason="art-17-3-b-legal-obligation-or-public-interest")
    texts.append(written(log, "refusal", language))
    assert len(set(texts)) == 8
    for text in texts:
        assert len(text.splitlines()) <= PAGE
        assert max(map(len, text.splitlines())) <= WIDTH
        assert "Example Ltd" in text
        assert "{" not in text
        assert not re.search(r"[a-z]+-[0-9]+-[0-9a-z]|None|True", text)


@pytest.mark.parametrize("kind", ["extension", "refusal", "completion"])
def test_a_letter_is_not_written_before_the_log_says_what_it_says(log, desk, kind):
    with pytest.raises(RefusedError, match=f"R3 is received: a letter of {kind} says that it was"):
        written(log, kind)


def test_nobody_is_asked_who_they_are_twice_and_no_recipient_told_of_a_refusal(log, desk):
    desk.verify_identity("R3", method="in-person")
    with pytest.raises(RefusedError, match="nobody has to be asked"):
        written(log, "identity")
    assert "make sure first" not in plain(written(log, "receipt"))
    desk.refuse("R3", reason="art-17-1-no-ground")
    with pytest.raises(RefusedError, match="nobody has to be told"):
        written(log, "recipients")


def test_a_receipt_says_until_when_and_by_which_rule(log, desk):
    text = plain(written(log, "receipt"))
    assert "On 1 March 2025 you asked us to delete your data. Your request has the number R3." in text
    assert "by 1 April 2025 at the latest (Article 12(3) GDPR)" in text
    assert "spätestens am 1. April 2025 (Artikel 12 Absatz 3 DSGVO)" in plain(written(log, "receipt", "de"))


@pytest.mark.parametrize(
    ("language", "said"),
    [
        (
            "en",
            "On 5 March 2025 you appealed against our answer to your request of 5 March 2025. We cannot answer the "
            "appeal within the usual time, because your request is complex to answer. "
            "We answer by 18 June 2025 at the latest (C.R.S. 6-1-1306(3), extended).",
        ),
        (
            "de",
            "am 5. März 2025 haben Sie unserer Antwort auf Ihren Antrag vom 5. März 2025 widersprochen. Wir können "
            "darüber nicht in der üblichen Zeit entscheiden, weil Ihr Antrag aufwendig zu beantworten ist. "
            "Wir antworten spätestens am 18. Juni 2025 (C.R.S. 6-1-1306(3), verlängert).",
        ),
    ],
)
def test_an_extension_after_an_appeal_is_about_the_appeal(log, language, said):
    states = parse_policy(packaged_policies()["us-states"], where="us-states")
    desk = desk_of(new_log(log.path.parent / "other", Clock()), states)
    desk.receive(["ann", "bob", "cleo"], source="email", jurisdiction="us-co")
    desk.refuse("R3", reason="security")
    desk.appeal("R3", kind="appeal")
    desk.extend("R3", reason="complexity")
    assert said in plain(written(AuditLog.open(log.path.parent / "other"), "extension", language, policy=states))


def test_a_refusal_says_why_and_names_the_rights_of_article_12_4(log, desk):
    desk.refuse("R3", reason="art-17-3-e-legal-claims")
    text = plain(written(log, "refusal"))
    assert "because the data is needed for legal claims (Article 17(3)(e))" in text
    assert "complain to a supervisory authority, for instance the Authority, and you may go to court" in text
    assert "Articles 12(4), 77 and 79 GDPR" in text
    german = plain(written(log, "refusal", "de"))
    assert "weil die Daten für Rechtsansprüche nötig sind (Artikel 17 Absatz 3 Buchstabe e)" in german


def test_the_answer_to_keep_never_says_that_anything_was_deleted(log, desk):
    ended(desk, "negligible-effect", CERTIFICATE, notified=["processors", "recipients"])
    text = plain(written(log, "completion"))
    assert "model digits (version 2) was trained. We did not train it again." in text
    assert "The chance that this statement is wrong is at most 2.5 %." in text  # 0.02 and 0.005
    assert "This does not mean that the model forgot you." in text
    assert "It has been in use since 5 March 2025" in text
    assert "We told those who process data on our behalf and those to whom we had given the data" in text
    assert not re.search("delet|eras|remov|forgotten", text.replace("you asked us to delete your data", ""))
    german = plain(written(log, "completion", "de"))
    assert "Das heißt nicht, dass das Modell Sie vergessen hat." in german
    assert "beträgt höchstens 2,5 %" in german
    assert "Das haben wir getan" not in german  # it would say that they were deleted
    assert not re.search("lösch|entfern", german.replace("gebeten, Ihre Daten zu löschen", ""))


def test_the_answer_after_a_new_training_names_both_models_and_until_when_the_old_one_was_used(log, desk):
    ended(desk, "retrained", EXCLUSION, records=3)
    text = plain(written(log, "completion"))
    assert "We trained our model again, without your data: that is digits (version 2), which is in use." in text
    assert "digits (version 1), had been trained with your data; it was in use until 5 March 2025." in text
    assert "Copies of the earlier one that others hold are not changed by it." in text
    assert "3 of your training examples were taken out of the data that we train with" in text


@pytest.mark.parametrize("method", ENDINGS)
def test_the_answer_in_part_says_what_is_kept_and_why(log, desk, method):
    ended(desk, method, ENDINGS[method], records=1, refused="art-17-3-e-legal-claims")
    text, german = plain(written(log, "completion")), plain(written(log, "completion", "de"))
    assert "one of your training examples was taken out of the data" in text
    assert "A part of your data is kept, because the data is needed for legal claims (Article 17(3)(e))." in text
    assert "What this letter says is about all the rest." in text
    assert "wurde eines Ihrer Trainingsbeispiele aus den Daten genommen" in german
    assert "Einen Teil Ihrer Daten behalten wir, weil die Daten für Rechtsansprüche nötig sind" in german


def test_the_answer_in_whole_says_of_no_part_that_it_is_kept(log, desk):
    ended(desk, "retrained", EXCLUSION)
    assert "is kept" not in plain(written(log, "completion"))
    assert "behalten" not in plain(written(log, "completion", "de"))


def test_the_answer_to_somebody_unknown_asks_for_another_name(log, desk):
    ended(desk, "no-data-held", ABSENCE)
    text = plain(written(log, "completion"))
    assert "No model that we use was trained with data under the name that your request gave:" in text
    assert "under another name" in text


@pytest.mark.parametrize("method", ENDINGS)
def test_an_attestation_is_never_called_a_certificate(log, desk, method):
    ended(desk, method, DOCUMENT)
    assert "a document of ours, which is not a certificate" in plain(written(log, "completion"))
    assert "das kein Zertifikat ist" in plain(written(log, "completion", "de"))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("method", ENDINGS)
def test_each_matter_of_an_answer_has_a_paragraph_of_its_own(log, desk, method, language):
    ended(desk, method, ENDINGS[method], records=3)
    begins = [block.split(".")[0] for block in written(log, "completion", language).split("\n\n")]
    matters = {
        "en": ["Your data", "The model", "Others", "If you are not content"],
        "de": ["Ihre Daten", "Das Modell", "Andere", "Wenn Sie nicht einverstanden sind"],
    }
    assert [name for name in begins if name in matters[language]] == matters[language]


def test_how_far_a_calculation_was_tried_out_is_said_where_audits_were_finished_before(log, desk):
    """Of certificates whose claims are audited, nothing is spent: the log has an audit of the bundle instead."""
    strata = [{"least": 1, "most": 1, "count": 59}]
    planned = {"bundle": "5" * 64, "recipe": "3" * 64, "policy_digest": GDPR.digest, "strata": strata}
    committed = log.record("audit-committed", {**planned, "content": "0.95", "confidence": "0.9", "by": "engineer"})
    log.record("audit-finished", {"committed": committed.index, "evidence": "e" * 64})
    issued = {"account": "7" * 64, "bundle": "5" * 64, "certificate": "f" * 64, "decision": "keep", "questions": []}
    log.record(
        "certificate-issued",
        {**issued, "release": "digits@2", "requests": ["R3"], "policy_digest": GDPR.digest},
    )
    ended(desk, "negligible-effect", "f" * 64)
    text = plain(written(log, "completion"))
    assert "with 90 % confidence it is right for at least 95 % of all choices like these" in text
    assert "also on your own data" in text  # the policy asks for own_loss
    assert "Mit einer Sicherheit von 90 % stimmt sie für mindestens 95 %" in plain(written(log, "completion", "de"))


def test_an_audit_that_came_after_the_certificate_is_not_spoken_of(log, desk):
    ended(desk, "negligible-effect", CERTIFICATE)
    assert "chosen by lot" not in plain(written(log, "completion"))


def test_a_language_is_added_by_a_folder(log, desk, tmp_path):
    source = Path(unlearnkit.policies.__path__[0]) / "letters" / "en"
    shutil.copytree(source, tmp_path / "letters" / "fr")
    words = tmp_path / "letters" / "fr" / "words.toml"
    words.write_text(words.read_text().replace('"March"', '"mars"').replace('"English"', '"français"'))
    (tmp_path / "letters" / "fr" / "receipt.txt").write_text("Bonjour, reçue le {{ received }}.")
    assert written(log, "receipt", "fr", folder=tmp_path / "letters") == "Bonjour, reçue le 1 mars 2025.\n"
    assert "1 mars 2025" in plain(written(log, "identity", "fr", folder=tmp_path / "letters"))


def test_nobody_is_asked_to_do_nothing(log, desk):
    asks_nobody = replace(GDPR, words=replace(GDPR.words, identity_methods=("not-needed",)))
    with pytest.raises(RefusedError, match="asks nobody who they are"):
        written(log, "identity", policy=asks_nobody)
    some = replace(GDPR, words=replace(GDPR.words, identity_methods=("not-needed", "in-person")))
    assert "do nothing more" not in plain(written(log, "identity", policy=some))


def test_templates_and_languages_of_a_workspace_come_first(log, desk, tmp_path):
    (tmp_path / "letters" / "en").mkdir(parents=True)
    (tmp_path / "letters" / "en" / "receipt.txt").write_text("Hello {{ request }}.")
    assert written(log, "receipt", folder=tmp_path / "letters") == "Hello R3.\n"
    assert "Exampletown" in written(log, "identity", folder=tmp_path / "letters")
    with pytest.raises(UnknownNameError, match="no letters in language 'fr': there are de, en"):
        Letters("fr", tmp_path / "letters")


def test_a_word_without_words_is_an_error_that_says_where_they_go(log, desk):
    strange = replace(GDPR, words=replace(GDPR.words, identity_methods=("blood-test",)))
    with pytest.raises(UnknownNameError, match="English has no words for 'blood-test'") as refused:
        written(log, "identity", policy=strange)
    assert "[identity] of words.toml" in refused.value.hint
    assert written(log, "identity", policy=CCPA)
