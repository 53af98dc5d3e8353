"""The policies of an office, by jurisdiction; and the texts under which requests were received, by digest.

A request is handled under the text that it was received under, whatever has become of the file since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.policy.policy import Policy, parse_policy
from unlearnkit.errors import PolicyError, UnknownNameError, VerificationError
from unlearnkit.files import MAX_SETTINGS, make_private_folder, read_bounded, write_new


@dataclass(frozen=True, slots=True)
class Shelf:
    """The texts of policies in a folder, each in a file with its digest as its name."""

    folder: Path

    @classmethod
    def beside(cls, log: Path) -> Shelf:
        """The one that is kept in the directory of a log."""
        return cls(log / "policies")

    def keep(self, policy: Policy) -> None:
        """Put a policy's text there, if it is not there yet: before the first entry that names its digest."""
        file = self._file(policy.digest)
        if not file.exists():
            make_private_folder(self.folder)
            with suppress(FileExistsError):
                write_new(file, policy.raw)

    def get(self, digest: str) -> Policy:
        """The policy with this digest.

        Raises:
            UnknownNameError: It is not there.
            VerificationError: What is there is another text.
        """
        file = self._file(digest)
        if not file.is_file():
            raise UnknownNameError(
                f"the policy with SHA-256 {digest}, under which requests were received, is missing: expected {file}",
                hint="put that text back, from a copy of the workspace or out of a certificate",
            )
        raw = read_bounded(file, MAX_SETTINGS)
        if sha256_hex(raw) != digest:
            raise VerificationError(f"{file} was changed: its SHA-256 is {sha256_hex(raw)}")
        return parse_policy(raw, where=str(file))

    def _file(self, digest: str) -> Path:
        return self.folder / f"{digest}.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """The policies that an office works under.

    default: for requests that say no jurisdiction. others: each for further jurisdictions. sources: the jurisdiction of
    requests that come in from there, where they do not say. shelf: the texts of before; None keeps none.
    """

    default: Policy
    others: tuple[Policy, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    shelf: Shelf | None = None

    def __post_init__(self) -> None:
        """Raise PolicyError for two policies for one jurisdiction, and for a source of none."""
        owner: dict[str, Policy] = {}
        for policy in self.present:
            for word in policy.jurisdictions:
                if word in owner:
                    raise PolicyError(f"policies {owner[word].name} and {policy.name} are both for jurisdiction {word}")
                owner[word] = policy
        for word in self.sources.values():
            self.for_jurisdiction(word)

    @property
    def present(self) -> tuple[Policy, ...]:
        """Those under which requests are received now."""
        return (self.default, *self.others)

    @property
    def digests(self) -> tuple[str, ...]:
        """Of those."""
        return tuple(policy.digest for policy in self.present)

    @property
    def jurisdictions(self) -> tuple[str, ...]:
        """All that they are for."""
        return tuple(word for policy in self.present for word in policy.jurisdictions)

    def place(self, *, source: str | None = None, jurisdiction: str | None = None) -> tuple[Policy, str | None]:
        """The policy under which a request is received, and its jurisdiction: as it says, or its source, or default.

        Raises:
            PolicyError: No policy is for that.
        """
        word = jurisdiction or self.sources.get(source or "") or self.default.jurisdiction
        return (self.default, None) if word is None else (self.for_jurisdiction(word), word)

    def for_jurisdiction(self, word: str) -> Policy:
        """The policy for a jurisdiction; PolicyError if there is none."""
        for policy in self.present:
            if word in policy.jurisdictions:
                return policy
        raise PolicyError(
            f"no policy of this workspace is for jurisdiction {word!r}: expected "
            f"{', '.join(self.jurisdictions) or 'none, for they name none'}",
            hint="name one that is in policies = [...] of unlearnkit.toml",
        )

    def received_under(self, digest: str) -> Policy:
        """The policy with this digest, of now or of before; raises as `Shelf.get` does."""
        for policy in self.present:
            if policy.digest == digest:
                return policy
        if self.shelf is None:
            raise UnknownNameError(f"no policy with SHA-256 {digest}: {len(self.present)} are known")
        return self.shelf.get(digest)

    def keep(self, used: Sequence[Policy]) -> None:
        """Put the texts of policies on the shelf."""
        if self.shelf is not None:
            for policy in {item.digest: item for item in used}.values():
                self.shelf.keep(policy)
