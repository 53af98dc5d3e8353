"""``unlearnkit init``: a workspace, and the options of commands that read or write its encrypted keys."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import ClassVar

import click

from .errors import values_from_options
from .output import Document, Output, columns, pass_output

_Command = Callable[..., None]


@dataclass(frozen=True, slots=True)
class PassphraseSource:
    """Where the passphrase of the keys comes from, if they have one; at most one of the three."""

    ask: bool
    file: Path | None
    variable: str | None

    def read(self, *, is_new: bool = False) -> bytes | None:
        """The passphrase, None for keys without; asks twice for a new one."""
        from unlearnkit.signing.passphrase import passphrase_from_environment, passphrase_from_file

        if sum([self.ask, self.file is not None, self.variable is not None]) > 1:
            raise click.UsageError("--passphrase, --passphrase-file and --passphrase-env exclude each other")
        if self.file is not None:
            return passphrase_from_file(self.file)
        if self.variable is not None:
            return passphrase_from_environment(self.variable)
        if not self.ask:
            return None
        typed: str = click.prompt("Passphrase", hide_input=True, confirmation_prompt=is_new, err=True)
        return typed.encode()


def passphrase_options(command: _Command) -> _Command:
    """Adds the options, and gives the command their values as ``passphrase``, a PassphraseSource."""

    @click.option("--passphrase", "ask", is_flag=True, help="Ask for the passphrase of the keys.")
    @click.option("--passphrase-file", "file", type=click.Path(path_type=Path), help="Read it from a private file.")
    @click.option("--passphrase-env", "variable", metavar="NAME", help="Read it from an environment variable.")
    @wraps(command)
    def run(*args: object, ask: bool, file: Path | None, variable: str | None, **rest: object) -> None:
        command(*args, passphrase=PassphraseSource(ask, file, variable), **rest)

    return run


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default=".")
@click.option("--origin", help="Name of the log, for example example.com/deletion-log. Default: a random one.")
@click.option(
    "--policy",
    "policies",
    multiple=True,
    default=["gdpr"],
    show_default=True,
    help="A packaged policy, or a file: its path from PATH. Further ones are for other jurisdictions.",
)
@click.option("--actor", help="Who works here: a word of the policy. Default: its first.")
@click.option("--timezone", default="UTC", show_default=True, help="Where requests are received, e.g. Europe/Berlin.")
@passphrase_options
@pass_output
def init(
    output: Output,
    /,
    *,
    path: Path,
    origin: str | None,
    policies: tuple[str, ...],
    actor: str | None,
    timezone: str,
    passphrase: PassphraseSource,
) -> None:
    """Make a workspace in PATH: keys, trust store, audit log with a first checkpoint.

    \b
    Example:
      unlearnkit init --origin example.com/deletion-log --policy gdpr --timezone Europe/Berlin
      unlearnkit init --policy gdpr --policy uk-gdpr --policy us-states
    """
    import unlearnkit as uk

    with values_from_options():
        made = uk.Workspace.create(
            path,
            origin=origin or f"unlearnkit.invalid/{secrets.token_hex(8)}",
            policy=policies[0],
            policies=policies[1:],
            actor=actor,
            timezone=timezone,
            passphrase=passphrase.read(is_new=True),
        )
    output.emit(
        _Made(
            path=made.root,
            origin=made.origin,
            policy=made.policy_source,
            policies=policies[1:],
            actor=made.actor,
            timezone=made.timezone.key,
            log_vkey=made.log_public_key().vkey,
        ),
        _render,
    )
    output.say(
        f"keep {made.root}/keys secret, and a copy of it elsewhere; give log.vkey to whoever is to verify the log"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made(Document):
    schema: ClassVar[str] = "unlearnkit/workspace/v1"

    path: Path
    origin: str
    policy: str
    policies: tuple[str, ...]
    actor: str
    timezone: str
    log_vkey: str


def _render(made: _Made) -> Iterable[str]:
    return columns(
        [
            ("path", made.path),
            ("origin", made.origin),
            ("policy", made.policy),
            ("for others", ", ".join(made.policies) or None),
            ("actor", made.actor),
            ("timezone", made.timezone),
            ("log vkey", made.log_vkey),
        ]
    )
