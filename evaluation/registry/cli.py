"""`infembed registry`: register, list, promote, roll back, pull, verify; and keys and signatures."""

import getpass
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

app = typer.Typer(help="Register, promote, roll back and pull models.", no_args_is_help=True)

RegistryOption = Annotated[
    str,
    typer.Option("--registry", envvar="INFEMBED_REGISTRY", help="Directory, or http(s) URL of an MLflow server."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Who decides; default: the user who runs this.")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Why; recorded.")]
KeyOption = Annotated[
    Path | None,
    typer.Option("--public-key", envvar="INFEMBED_BUNDLE_PUBLIC_KEY", help="Refuse what this key did not sign."),
]
DEFAULT = ".cache/registry"


@app.command()
def register(  # noqa: PLR0917 - the options of a command, given by name
    bundle: Annotated[Path, typer.Argument(help="Directory of the bundle; its signature lies beside it.")],
    report: Annotated[Path | None, typer.Option(help="An evaluation report to keep beside it.")] = None,
    index: Annotated[Path | None, typer.Option(help="Collection whose current generation belongs to it.")] = None,
    by: ByOption = None,
    reason: ReasonOption = None,
    public_key: KeyOption = None,
    registry: RegistryOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Upload a bundle and make it the candidate; the same bundle again changes nothing."""
    from evaluation.registry import promotion

    store = _open(registry, create=True)
    release, is_new = promotion.register(
        store, bundle, _signer(by, reason), report=report, index=index, public_key=public_key
    )
    what = "is the candidate" if is_new else "was registered already, nothing changed"
    signed = "signed" if release.signature_sha256 else "not signed"
    _say(f"{release} {what} ({signed}) in {store.location}", as_json, {"is_new": is_new, **_facts(release)})


@app.command(name="list")
def list_releases(registry: RegistryOption = DEFAULT, as_json: JsonOption = False) -> None:
    """Show champion, candidate, what a rollback would restore, and every decision."""
    from evaluation.registry.overview import as_data, as_table

    store = _open(registry)
    state = store.state()
    if as_json:
        typer.echo(json.dumps({"registry": str(store.location), **as_data(state)}))
        return
    console = Console(soft_wrap=True)
    for line in (f"registry {store.location}", *as_table(state)):
        console.print(line, highlight=False, markup=False)


@app.command()
def promote(  # noqa: PLR0917 - the options of a command, given by name
    decision: Annotated[Path | None, typer.Option(help="The gate's decision (JSON).")] = None,
    champion: Annotated[Path | None, typer.Option(help="The champion's report, as given to the gate.")] = None,
    candidate: Annotated[Path | None, typer.Option(help="The candidate's report, as given to the gate.")] = None,
    index: Annotated[Path | None, typer.Option(help="Collection whose current generation to promote with it.")] = None,
    is_initial: Annotated[bool, typer.Option("--initial", help="The first champion: no gate can judge it.")] = False,
    is_override: Annotated[bool, typer.Option("--override", help="Promote without a PASS, on your name.")] = False,
    by: ByOption = None,
    reason: ReasonOption = None,
    public_key: KeyOption = None,
    registry: RegistryOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Make the candidate the champion; needs the gate's PASS for exactly these two bundles."""
    from evaluation.registry import promotion

    if is_override and not by:
        _refuse("an override is recorded with a name and a reason; give --by NAME and --reason TEXT")
    evidence = _evidence(decision, champion, candidate, is_initial=is_initial)
    store = _open(registry)
    release = promotion.promote(
        store, evidence, _signer(by, reason), index=index, is_override=is_override, public_key=public_key
    )
    _say(f"champion is now {release}, {_index_words(release)}", as_json, _facts(release))


@app.command()
def rollback(
    by: Annotated[str, typer.Option("--by", help="Who decides.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; recorded.")],
    registry: RegistryOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Restore the champion before this one, bundle and index together."""
    from evaluation.registry import promotion

    release = promotion.rollback(_open(registry), _signer(by, reason))
    _say(f"champion is again {release}, {_index_words(release)}", as_json, _facts(release))


@app.command()
def amend(  # noqa: PLR0917 - the options of a command, given by name
    by: Annotated[str, typer.Option("--by", help="Who decides.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; recorded.")],
    index: Annotated[Path | None, typer.Option(help="Collection whose current generation the champion gets.")] = None,
    signature: Annotated[Path | None, typer.Option(help="Signature of the champion's bundle.")] = None,
    public_key: KeyOption = None,
    registry: RegistryOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Give the champion a newer generation of its index, or a signature; the bundle stays."""
    from evaluation.registry import promotion

    if index is None and signature is None:
        _refuse("nothing to amend; give --index COLLECTION or --signature FILE")
    release = promotion.amend(
        _open(registry), _signer(by, reason), index=index, signature=signature, public_key=public_key
    )
    _say(f"champion is {release}, {_index_words(release)}", as_json, _facts(release))


@app.command()
def pull(  # noqa: PLR0917 - the options of a command, given by name
    out: Annotated[Path, typer.Argument(help="Directory to pull into; serve from its `current`.")],
    alias: Annotated[str | None, typer.Option(help="champion (default) or candidate.")] = None,
    version: Annotated[int | None, typer.Option(min=1, help="A version by number.")] = None,
    without_index: Annotated[bool, typer.Option("--without-index", help="Only the bundle.")] = False,
    public_key: KeyOption = None,
    registry: RegistryOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Fetch a release, verify it and make it OUT/current in one step."""
    from evaluation.registry.overview import choose
    from evaluation.registry.pull import pull as pull_release

    store = _open(registry)
    release = choose(store.state(), alias=alias, version=version)
    pulled = pull_release(store, release, out, public_key=public_key, with_index=not without_index)
    checked = "signature verified" if pulled.is_signature_checked else "signature not checked: no public key given"
    how = "fetched and verified" if pulled.is_new else "was there already and is intact"
    serve = f"infembed serve --bundle {pulled.bundle}"
    if pulled.collections:
        serve += f" --collections {pulled.collections}"
    facts = {
        "bundle": str(pulled.bundle),
        "collections": str(pulled.collections) if pulled.collections else None,
        "is_new": pulled.is_new,
        "is_signature_checked": pulled.is_signature_checked,
    }
    text = f"{pulled.release} {how} ({checked}), {_index_words(pulled.release)}\nserve it with: {serve}"
    _say(text, as_json, facts | _facts(pulled.release))


@app.command()
def verify(
    repair: Annotated[bool, typer.Option("--repair", help="Finish what an interrupted process left.")] = False,
    public_key: KeyOption = None,
    registry: RegistryOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Check the decision log, the aliases, and the files that are or may be served; exit code 1 on a problem."""
    from evaluation.registry.promotion import recover
    from evaluation.registry.verification import verify as verify_registry

    store = _open(registry)
    repaired = recover(store) if repair else []
    findings = verify_registry(store, public_key=public_key)
    lines = [f"repaired  {what}" for what in repaired]
    lines += [f"{'PROBLEM ' if finding.is_problem else 'ok      '}  {finding.text}" for finding in findings]
    problems = [finding.text for finding in findings if finding.is_problem]
    facts = {"repaired": repaired, "problems": problems, "ok": [f.text for f in findings if not f.is_problem]}
    _say("\n".join(lines), as_json, facts)
    if problems:
        raise typer.Exit(1)


@app.command()
def keygen(
    private_key: Annotated[Path, typer.Argument(help="File for the private key; the public one gets `.pub`.")],
) -> None:
    """Make a key pair for signing bundles; keep the private half off the machines that serve."""
    from infembed.signatures import make_key_pair

    public_key = make_key_pair(private_key)
    _say(f"private key {private_key} (keep it offline), public key {public_key}", False, {})


@app.command()
def sign(
    bundle: Annotated[Path, typer.Argument(help="Directory of the bundle.")],
    private_key: Annotated[Path, typer.Option("--private-key", help="File made by `keygen`.")],
) -> None:
    """Verify a bundle and sign it; the signature lies beside it."""
    from infembed.bundle import Bundle
    from infembed.signatures import sign_bundle

    opened = Bundle.open(bundle)
    signature = sign_bundle(bundle, private_key)
    _say(f"signed {opened.manifest.name}, digest {opened.digest[:12]}: {signature}", False, {})


def _open(registry: str, *, create: bool = False) -> Any:
    from evaluation.registry.location import Location
    from evaluation.registry.store import Store

    return Store.open(Location.parse(registry), create=create)


def _signer(by: str | None, reason: str | None) -> Any:
    from evaluation.registry.promotion import Signer

    return Signer(getpass.getuser() if by is None else by, reason)


def _evidence(decision: Path | None, champion: Path | None, candidate: Path | None, *, is_initial: bool) -> Any:
    from evaluation.registry.evidence import Evidence

    files = (decision, champion, candidate)
    if is_initial:
        if any(files):
            _refuse("--initial is for the first champion, which no gate judged; leave out decision and reports")
        return None
    if decision is None or champion is None or candidate is None:
        _refuse(
            "a promotion needs --decision, --champion and --candidate: the gate's decision and the two reports it was "
            "made from"
        )
    return Evidence.read(decision=decision, champion=champion, candidate=candidate)


def _refuse(message: str) -> NoReturn:
    from infembed.errors import BadInputError

    raise BadInputError(message)


def _index_words(release: Any) -> str:
    if release.index is None:
        return "without an index"
    return f"with index {release.index.collection}, {release.index.generation}"


def _facts(release: Any) -> dict[str, object]:
    return {"release": release.model_dump(mode="json")}


def _say(text: str, as_json: bool, facts: Mapping[str, object]) -> None:
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        Console(soft_wrap=True).print(text, highlight=False, markup=False)
