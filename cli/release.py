"""``unlearnkit release``: which models are in use, and what became of them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import click

from unlearnkit.names import counted

from .errors import values_from_options
from .options import BY, ON
from .outlook_views import OutlookView, render_outlook
from .output import Output, pass_output
from .release_list import ListedRelease, ListedReleases, render_listed
from .release_views import (
    CardView,
    CutView,
    OneRelease,
    Releases,
    ReleaseView,
    render_card,
    render_cut,
    render_release,
    render_releases,
)

_VERSION = "Which one of that name: digits, lower-case letters, points and hyphens."


@click.group()
def release() -> None:
    """Releases: the models in use, each with its bundle."""


@release.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option("--name", required=True, help="What the model is called: a word.")
@click.option("--version", required=True, help=_VERSION)
@click.option("--replaces", metavar="RELEASE", help="The release that it takes the place of, such as digits@1.")
@ON
@BY
@pass_output
def add(
    output: Output,
    *,
    model: Path,
    name: str,
    version: str,
    replaces: str | None,
    on: date | None,
    actor: str | None,
) -> None:
    """Record that a model came into use. MODEL is the bundle of a trained one, or the certificate of a corrected one.

    A model that holds data of somebody whose request was met by retraining is refused.

    \b
    Example:
      unlearnkit release add run/bundle --name digits --version 1
      unlearnkit release add certificates/R2-digits@1.correction.json --name digits --version 1.1
      unlearnkit release add run/bundle-2 --name digits --version 2 --replaces digits@1.1
    """
    import unlearnkit as uk

    office = uk.Workspace.find()
    with values_from_options():
        register = office.register if model.is_dir() else office.register_correction
        made = register(model, name=name, version=version, replaces=replaces, on=on, by=actor)
    output.emit(Releases(releases=(ReleaseView.of(made, office.view()),)), render_releases)


@release.command("list")
@click.option("--all", "everything", is_flag=True, help="Those too that are out of use.")
@pass_output
def list_releases(output: Output, *, everything: bool) -> None:
    """List the releases in force, with the requests that were received since each.

    Of those whose bundle is at hand: how many people were answered without retraining, how far all of them together
    move each aggregate probe of the policy, by prediction, and what is left of its tolerance.

    \b
    Example:
      unlearnkit release list
    """
    import unlearnkit as uk
    from unlearnkit.office.listing import glances

    office = uk.Workspace.find()
    view = office.view()
    found = tuple(view.registry.releases.values()) if everything else view.registry.in_force
    listed = tuple(ListedRelease.at_a_glance(item, view) for item in glances(office, view, found))
    output.emit(ListedReleases(releases=listed), render_listed)
    output.say(f"{counted(len(view.registry.in_force), 'release')} in force")


@release.command()
@click.argument("release")
@click.option("--bundle", type=click.Path(path_type=Path), help="Its bundle. Default: where it was registered.")
@pass_output
def show(output: Output, *, release: str, bundle: Path | None) -> None:
    """Show what the log says of RELEASE; where its bundle is at hand, its standing set, too.

    The standing set is everybody in the bundle who was answered without retraining. What each probe of the policy would
    move without all of them is predicted, not certified.

    \b
    Example:
      unlearnkit release show digits@1
    """
    import unlearnkit as uk
    from unlearnkit.compliance.releases.whereabouts import is_whole

    office = uk.Workspace.find()
    view = office.view()
    found = view.registry.get(release)
    standing = office.standing(found, bundle) if bundle or is_whole(office.root, found) else None
    output.emit(OneRelease.of_release(found, view, standing), render_release)


@release.command()
@click.argument("release")
@click.option("--bundle", type=click.Path(path_type=Path), help="Its bundle. Default: where it was registered.")
@click.option("-o", "--output", "path", type=click.Path(path_type=Path), help="Write it to this new file.")
@pass_output
def card(output: Output, *, release: str, bundle: Path | None, path: Path | None) -> None:
    """Write a section for RELEASE's model card, in Markdown: what was sketched, what it keeps of people, how they ask.

    \b
    Example:
      unlearnkit release card digits@1 -o people.md
    """
    import unlearnkit as uk
    from unlearnkit.files import write_new
    from unlearnkit.office.card import model_card

    text = model_card(uk.Workspace.find(), release, bundle)
    if path is not None:
        write_new(path, text.encode())
    output.emit(CardView(release=release, path=path, markdown=text), render_card)


@release.command()
@click.argument("release")
@ON
@BY
@pass_output
def retire(output: Output, *, release: str, on: date | None, actor: str | None) -> None:
    """Record that RELEASE went out of use, with nothing in its place.

    \b
    Example:
      unlearnkit release retire digits@1
    """
    import unlearnkit as uk

    office = uk.Workspace.find()
    with values_from_options():
        made = office.retire(release, on=on, by=actor)
    output.emit(Releases(releases=(ReleaseView.of(made, office.view()),)), render_releases)


@release.command()
@click.argument("release")
@click.option("--bundle", type=click.Path(path_type=Path), help="Its bundle, if it does not lie where it did.")
@pass_output
def outlook(output: Output, *, release: str, bundle: Path | None) -> None:
    """Say how many more people can be answered before RELEASE has to be trained again, and until when.

    From the bundle alone: people who have not asked are taken in random order, many times. The median, and what is left
    in the worst 5 %, until each tolerance is exceeded, and until it is in doubt whether the series converges. It is a
    prediction, to plan the next training by; requests are decided by certificates.

    Where the bundle corrects weights: for how many more people, by what audits have shown and the policy tolerates, and
    until their series diverges. And after how many separate occasions sketch and audit have paid, if they do.

    \b
    Example:
      unlearnkit release outlook digits@1
    """
    import unlearnkit as uk

    office = uk.Workspace.find()
    output.emit(OutlookView.of(office.outlook(release, bundle), office.today), render_outlook)


@release.command()
@click.argument("release")
@click.option("--yes", is_flag=True, help="It is not asked again.")
@pass_output
def cut(output: Output, *, release: str, yes: bool) -> None:
    """Remove, for ever, what the bundle of RELEASE says of people's data, and its model; RELEASE is out of use.

    The signed list of its people is left: certificates of exclusion and absence rest on it. Those of the effect and of
    corrections from this bundle can then be verified no more, only by who signed and recorded them.

    \b
    Example:
      unlearnkit release cut digits@1 --yes
    """
    import unlearnkit as uk

    office = uk.Workspace.find()
    if not yes:
        raise click.UsageError("what is cut is gone for ever: say --yes")
    made = office.cut(release)
    output.emit(CutView(release=made.release, path=made.path, files=made.files), render_cut)
