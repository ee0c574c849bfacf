"""The command `bench`. Results go to stdout, progress and errors to stderr; torch is imported only by what needs it."""

import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from earbench.config import Settings
from earbench.console import require, settings_for, show, shown, told
from earbench.errors import BenchError, RequestError

app = typer.Typer(
    name="bench",
    help="How good are an audio encoder's representations, on what, and is it really better than the others?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
cache_app = typer.Typer(help="The feature store: what is in it, is it sound, make it smaller.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")

WIDE = 10_000
"""The width of a table that goes to a file or another program: all of it."""

Config = Annotated[Path | None, typer.Option("--config", help="Use this bench.toml.")]
Cache = Annotated[Path | None, typer.Option("--cache", help="Keep features and fits here.")]
Results = Annotated[Path | None, typer.Option("--results", help="Keep records and boards here.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Data = Annotated[str | None, typer.Option("--data", help="The corpus folder, or 'demo' for the built-in corpus.")]
Partial = Annotated[bool, typer.Option("--partial", help="Accept a corpus that is not whole; stays off boards.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@app.command()
def run(
    upstream: Annotated[str, typer.Option(help="Encoders, separated by commas: NAME, NAME@PATH, hf:DIR, NAME~random.")],
    task: Annotated[str, typer.Option(help="Tasks, separated by commas; @SUITE and 'all' are lists of tasks.")],
    data: Data = None,
    partial: Partial = False,
    effort: Annotated[str | None, typer.Option(help="quick, standard or reference.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, mps, …")] = None,
    dtype: Annotated[str | None, typer.Option(help="fp32 or bf16.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Train heads from this many seeds.")] = None,
    layers: Annotated[str | None, typer.Option(help="mix, last, each, a layer number, or a group of layers.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what the run would take, and stop.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Run even if there is a record; the old one stays.")] = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither use nor keep stored features and fits.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Run this many at a time, each in a process of its own.")] = 1,
    results: Results = None,
    cache: Cache = None,
    config: Config = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Score encoders on tasks: one record each, with interval, cost and provenance."""
    with told(debug):
        settings = settings_for(config, results, cache, effort=effort, device=device, dtype=dtype, seeds=seeds)
        names = [name for name in upstream.split(",") if name]
        tasks = [name for name in task.split(",") if name]
        require(names, tasks)
        from earbench.commands import run_all

        options = {"data": data, "partial": partial, "layers": layers, "again": again, "use_cache": not no_cache}
        raise typer.Exit(
            run_all(names, tasks, options, settings, forecast_only=plan, as_json=json_, debug=debug, jobs=jobs)
        )


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="upstreams, tasks, suites or records")],
    config: Config = None,
    results: Results = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """What there is, where it comes from, and what is missing to use it."""
    with told(debug):
        from earbench.listing import fitted, listing

        rows = listing(what, settings_for(config, results))
        if json_:
            return show(rows, True)
        cells = [{key: shown(value) for key, value in row.items()} for row in rows]
        show(fitted(what, cells, shutil.get_terminal_size((WIDE, 24)).columns), False)
        if any(row.get("missing") in ("corpus", "your audio") for row in rows):
            print(
                "\nmissing: `bench prepare --task NAME` says what to put where; with a demo, --data demo runs without",
                file=sys.stderr,
            )
        return None


@app.command()
def prepare(
    task: Annotated[str, typer.Option(help="Tasks, separated by commas; @SUITE and 'all' are lists of tasks.")],
    data: Data = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch what anyone may download into the folder, and unpack it.")
    ] = False,
    from_raw: Annotated[
        Path | None,
        typer.Option("--from-raw", help="Make the prepared corpus from the original one, unpacked in this folder."),
    ] = None,
    rates: Annotated[str | None, typer.Option(help="With --from-raw: the sample rates to write (16000,48000).")] = None,
    config: Config = None,
    cache: Cache = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Is the corpus there, whole, split as published? What to download and where to put it."""
    with told(debug):
        if from_raw is not None and download:
            raise RequestError("--download fetches what is published, --from-raw makes it: give one of them")
        if from_raw is None and rates is not None:
            raise RequestError("--rates belongs to --from-raw DIR")
        settings = settings_for(config, cache=cache)
        names = [name for name in task.split(",") if name]
        require([], names)
        from earbench.from_raw import chosen
        from earbench.prepare import make, prepared
        from earbench.progress import Progress

        progress = Progress(quiet=json_)
        if from_raw is not None:
            make(names, from_raw, data, chosen("16000,48000" if rates is None else rates), settings, progress)
        found = prepared(names, data, settings, download, progress)
        texts = [one.pop("text") for one in found]
        print(json.dumps(found, indent=1, ensure_ascii=False) if json_ else "\n\n".join(texts))
        raise typer.Exit(0 if all(one["whole"] for one in found) else 1)


@app.command()
def check(
    upstream: Annotated[str | None, typer.Option(help="An encoder to check.")] = None,
    task: Annotated[str | None, typer.Option(help="A task to check.")] = None,
    record: Annotated[Path | None, typer.Option(help="A record file to check.")] = None,
    results: Annotated[Path | None, typer.Option(help="A results folder that somebody sends; with --against.")] = None,
    against: Annotated[Path | None, typer.Option(help="With --results: the folder that it is to become.")] = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """The contract as executable checks: what a submitter runs before submitting."""
    with told(debug):
        if sum(item is not None for item in (upstream, task, record, results)) != 1:
            raise RequestError("bench check needs exactly one of --upstream, --task, --record, --results")
        if (results is None) != (against is None):
            raise RequestError("bench check --results DIR --against BASE: neither says anything without the other")
        from earbench.commands import findings

        rows = findings(upstream, task, record, (results, against) if results and against else None)
        show(rows, json_)
        raise typer.Exit(0 if all(row["ok"] for row in rows) else 1)


@app.command()
def clips(
    task: Annotated[str, typer.Option(help="Tasks, separated by commas; @SUITE and 'all' are lists of tasks.")],
    out: Annotated[Path | None, typer.Option(help="Write the list to OUT/clips; else it is printed.")] = None,
    audio: Annotated[
        bool, typer.Option("--audio", help="Also write every clip, cut and resampled, as OUT/audio/KEY.wav.")
    ] = False,
    sample_rate: Annotated[int | None, typer.Option(min=1, help="What the encoder wants, in hertz (16000).")] = None,
    hop: Annotated[
        float | None, typer.Option(min=1e-6, help="Seconds between its frames (0.02); only some tasks ask.")
    ] = None,
    data: Data = None,
    partial: Partial = False,
    effort: Annotated[str | None, typer.Option(help="quick: the clips of a smoke run only.")] = None,
    cache: Cache = None,
    config: Config = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """The exact clips of a task, for a program that computes their features elsewhere (`features:DIR`)."""
    with told(debug):
        if audio and out is None:
            raise RequestError("--audio needs a folder to write to", "--out DIR")
        settings = settings_for(config, cache=cache, effort=effort)
        names = [name for name in task.split(",") if name]
        require([], names)
        from earbench import clips as clips_
        from earbench.progress import Progress
        from earbench.suites import asked

        progress = Progress(quiet=json_)
        tasks = asked(names, data, settings, progress)
        wishes = [clips_.Wish(one, data, partial, sample_rate, hop) for one in tasks]
        if out is None:
            show([row for wish in wishes for row in clips_.listed(wish, settings, progress)], json_)
        else:
            show([clips_.write_list(wish, out.resolve(), audio, settings, progress) for wish in wishes], json_)


@app.command()
def extract(
    upstream: Annotated[str, typer.Option(help="An encoder.")],
    task: Annotated[str, typer.Option(help="Tasks, separated by commas; @SUITE and 'all' are lists of tasks.")],
    out: Annotated[Path, typer.Option(help="The folder, then `features:OUT`; several tasks may share one.")],
    data: Data = None,
    partial: Partial = False,
    effort: Annotated[str | None, typer.Option(help="quick: the clips of a smoke run only.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, mps, …")] = None,
    dtype: Annotated[str | None, typer.Option(help="fp32 or bf16.")] = None,
    cache: Cache = None,
    config: Config = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """The features of every clip of a task as files, one array each."""
    with told(debug):
        settings = settings_for(config, cache=cache, effort=effort, device=device, dtype=dtype)
        names = [name for name in task.split(",") if name]
        require([upstream], names)
        from earbench import clips as clips_
        from earbench.plan import Request
        from earbench.progress import Progress
        from earbench.suites import asked

        progress = Progress(quiet=json_)
        requests = [Request(upstream, one, data, partial) for one in asked(names, data, settings, progress)]
        show([clips_.write_features(one, out.resolve(), settings, progress) for one in requests], json_)


@app.command()
def report(
    board: Annotated[str | None, typer.Option(help="One board; all of them if not given.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Fail if the stored boards differ from the records.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX tables and write nothing.")] = False,
    html: Annotated[Path | None, typer.Option(help="Also make a static site, which opens from this folder.")] = None,
    diff: Annotated[
        Path | None, typer.Option(help="Print how the boards of this results folder change, and write nothing.")
    ] = None,
    results: Results = None,
    config: Config = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """The leaderboards, rebuilt from the stored records; also written as Markdown and CSV beside them."""
    with told(debug):
        if sum(map(bool, (check, latex, diff))) > 1 or (diff and html):
            raise RequestError("--check, --latex, --html and --diff do different things: give one of them")
        from earbench import report as reports

        settings = settings_for(config, results)
        if html and latex:
            raise RequestError("--latex only prints and --html only writes: give one of them")
        if html:
            from earbench.site import build

            build.check(html.resolve())
        boards, records = boards_of(settings, board)
        if diff:
            show_changes(diff, boards, board, settings, json_)
            return
        if latex:
            from earbench.latex import latex as in_latex

            if not any(one.rows for one in boards):
                raise BenchError("there is no row to print", why_no_rows(records, settings, board))
            print("\n".join(in_latex(one) for one in boards if one.rows), end="")
            return
        if check:
            if differing := reports.differences(boards, settings.results):
                raise BenchError(
                    f"boards differ from their records: {', '.join(differing)}",
                    "`bench report` rebuilds them; remove those that no record stands on",
                )
            if board is None and (strays := reports.strays(boards, settings.results)):
                raise BenchError(f"no board of bench.toml is called so: {', '.join(strays)}", "remove these files")
            written: list[Path] = []
        else:
            written = reports.write(boards, settings.results)
        if html:
            written.append(build.write(boards, records, settings, html.resolve()))
        if json_:
            print(json.dumps({"boards": [reports.plain(one) for one in boards]}, indent=1, ensure_ascii=False))
            return
        if not any(one.rows for one in boards):
            print(why_no_rows(records, settings, board))
        for one in boards:
            if one.rows:
                print(f"{one.plan.title}\n\n{reports.table(one)}\n\n{reports.signature(one)}\n")
        for path in written:
            print(f"written: {path}", file=sys.stderr)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="An encoder with records, as the boards name it.")],
    second: Annotated[str, typer.Argument(help="Another one.")],
    results: Results = None,
    config: Config = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Is one encoder really better? A paired test per task both were scored on, Holm-corrected over tasks."""
    with told(debug):
        from dataclasses import asdict

        from earbench import compare as comparing
        from earbench import record

        found = comparing.compare(first, second, record.every(settings_for(config, results).results))
        show([asdict(one) for one in found] if json_ else comparing.rows(found, first, second), json_)


@app.command()
def reproduce(
    record: Annotated[Path, typer.Argument(help="A record file.")],
    upstream: Annotated[str | None, typer.Option(help="Where its encoder lies here, as for `bench run`.")] = None,
    task: Annotated[str | None, typer.Option(help="Where its task lies here, folder:DIR or csv:FILE.")] = None,
    data: Data = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, mps, …")] = None,
    use_cache: Annotated[bool, typer.Option("--use-cache", help="Take stored features and finished fits.")] = False,
    mark: Annotated[bool, typer.Option("--mark", help="If all scores hold, say so beside the record.")] = False,
    by: Annotated[str | None, typer.Option(help="With --mark: who says so.")] = None,
    run_code: Annotated[
        str | None, typer.Option(help="The encoder that the record names, if that is code which you trust.")
    ] = None,
    cache: Cache = None,
    config: Config = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Run a record's plan again and say, score by score, whether it holds."""
    with told(debug):
        if mark and use_cache:
            raise RequestError("--mark says that a plan was run again: --use-cache would take what is stored")
        settings = settings_for(config, cache=cache, device=device)
        from earbench import record as records
        from earbench import reproduce as reproducing
        from earbench.progress import Progress

        then = records.read(record)
        wish = reproducing.Wish(upstream, task, data, use_cache, run_code)
        now = reproducing.reproduce(then, wish, settings, Progress(quiet=json_))
        told_ = reproducing.told(then, now)
        if mark:
            reproducing.mark(then, told_, by)
        print(json.dumps(told_, indent=1) if json_ else reproducing.text(told_))
        raise typer.Exit(0 if told_["holds"] else 1)


@app.command()
def submit(
    upstream: Annotated[str, typer.Argument(help="An encoder with records, as the boards name it.")],
    out: Annotated[Path, typer.Option(help="The bundle to write, a .zip.")],
    task: Annotated[
        str, typer.Option(help="Its tasks, separated by commas; all that no board refuses if not given.")
    ] = "",
    contact: Annotated[str | None, typer.Option(help="Whom to ask; shown with the records.")] = None,
    licence: Annotated[str | None, typer.Option(help="That of the weights, if the records do not say it.")] = None,
    seen: Annotated[list[str] | None, typer.Option(help="A corpus that it was trained on; give it for each.")] = None,
    not_seen: Annotated[list[str] | None, typer.Option(help="A corpus that it never heard; give it for each.")] = None,
    declare: Annotated[Path | None, typer.Option(help="The same four as a TOML file.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Pack records too that no board shows.")] = False,
    results: Results = None,
    cache: Cache = None,
    config: Config = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Pack records, predictions and heads of an encoder, with what you declare, into one bundle."""
    with told(debug):
        from earbench import submit as submitting

        tasks = tuple(name for name in task.split(",") if name)
        options = {"contact": contact, "licence": licence, "seen": seen, "not_seen": not_seen}
        wish = submitting.Wish(upstream, tasks, out.resolve(), all_)
        packed = submitting.submit(wish, declare, options, settings_for(config, results, cache))
        print(json.dumps(packed, indent=1, ensure_ascii=False) if json_ else submitting.text(packed))


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="What `bench submit` wrote.")],
    data: Data = None,
    import_: Annotated[bool, typer.Option("--import", help="Keep its records if nothing is refused.")] = False,
    by: Annotated[str | None, typer.Option(help="Who says so, for the state of the records.")] = None,
    results: Results = None,
    cache: Cache = None,
    config: Config = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Look into a bundle without trust: what holds, what could not be checked, what is refused."""
    with told(debug):
        settings = settings_for(config, results, cache)
        from earbench import verify as verifying
        from earbench.progress import Progress

        wish = verifying.Wish(data, import_, by)
        said = verifying.verify(bundle, wish, settings, Progress(quiet=json_))
        print(json.dumps(said, indent=1, ensure_ascii=False) if json_ else verifying.text(said))
        raise typer.Exit(0 if said["holds"] else 1)


@app.command()
def pretrain(
    method: Annotated[str, typer.Argument(help="How to learn: cpc, or what a package of yours adds.")],
    data: Annotated[Path, typer.Option("--data", help="A folder of audio; its folders are the speakers.")],
    out: Annotated[Path | None, typer.Option(help="Where checkpoints, log and weights go; kept to go on from.")] = None,
    steps: Annotated[int, typer.Option(help="Train up to this step.")] = 10_000,
    batch: Annotated[int | None, typer.Option(help="Stretches per step; the method's own if not given.")] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate; the method's own if not given.")] = None,
    every: Annotated[int, typer.Option(help="Save, and judge on held-out audio, every so many steps.")] = 100,
    probe: Annotated[str, typer.Option(help="The task of the probe curve, or 'none'.")] = "ks",
    probe_every: Annotated[int, typer.Option(help="Probe every so many steps.")] = 500,
    perturb: Annotated[bool, typer.Option("--perturb", help="Change speed, microphone and noise of batches.")] = False,
    seed: Annotated[int, typer.Option(help="What everything random is drawn from.")] = 0,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, mps, …")] = None,
    cache: Cache = None,
    config: Config = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Train an encoder of ours on your audio; a run that was stopped goes on when the command is given again."""
    with told(debug):
        settings = settings_for(config, cache=cache, device=device)
        from earbench.pretrain import command
        from earbench.progress import Progress

        task = None if probe == "none" else probe
        wish = command.Wish(method, data, out, steps, batch, rate, every, task, probe_every, perturb, seed)
        outcome = command.pretrain(wish, settings, Progress(quiet=json_))
        print(json.dumps(outcome, indent=1) if json_ else command.told(outcome))


@app.command()
def doctor(config: Config = None, json_: Json = False, debug: Debug = False) -> None:
    """Versions, devices, data folders, broken packages, with the line that repairs each."""
    with told(debug):
        from earbench.doctor import diagnose

        rows = diagnose(settings_for(config))
        show(rows, json_)
        raise typer.Exit(0 if all(row["ok"] for row in rows) else 1)


@app.command()
def schema(
    kind: Annotated[str, typer.Argument(help="record, state, declared or bundle")],
    debug: Debug = False,
) -> None:
    """The JSON Schema of a record, of what lies beside it, or of the manifest of a bundle."""
    with told(debug):
        from earbench.record import SCHEMAS
        from earbench.record import schema as of_kind

        if kind not in SCHEMAS:
            raise RequestError(f"there is no schema of '{kind}'", f"known: {', '.join(SCHEMAS)}")
        print(json.dumps(of_kind(kind), indent=1))


@app.command()
def new(
    kind: Annotated[Literal["upstream", "task"], typer.Argument()],
    name: Annotated[str, typer.Argument(help="What --upstream or --task will call it.")],
    out: Annotated[Path | None, typer.Option(help="The folder to make; ./NAME-earbench if not given.")] = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """A plugin package to start from, which works as it is: module, card, test, README."""
    with told(debug):
        from earbench import scaffold

        folder = scaffold.new(kind, name, out)
        made = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        if json_:
            print(json.dumps({"folder": str(folder), "files": made}, indent=1))
        else:
            print(f"{folder}: {', '.join(made)}\nnext: pip install -e {shlex.quote(str(folder))}, then its README.md")


@cache_app.command("ls")
def cache_ls(config: Config = None, cache: Cache = None, json_: Json = False, debug: Debug = False) -> None:
    """What takes space: features per encoder (by digest) and grain, fits, heads, pretraining runs, the demo corpus."""
    with told(debug):
        from earbench.commands import cache_rows

        show(cache_rows(settings_for(config, cache=cache)), json_)


@cache_app.command("verify")
def cache_verify(config: Config = None, cache: Cache = None, json_: Json = False, debug: Debug = False) -> None:
    """Check every shard against its checksum; damaged ones are removed and will be extracted again."""
    with told(debug):
        from earbench import store

        settings = settings_for(config, cache=cache)
        total = len(store.entries(settings.cache))
        damaged = store.verify(settings.cache)
        if json_:
            print(json.dumps({"shards": total, "damaged": [entry.name for entry in damaged]}))
        else:
            print(f"{total} shards checked, {len(damaged)} damaged and removed")
        raise typer.Exit(1 if damaged else 0)


@cache_app.command("prune")
def cache_prune(
    keep_gb: Annotated[float, typer.Option(min=0.0, help="Keep at most this many gigabytes of features.")],
    fits: Annotated[bool, typer.Option("--fits", help="Remove the saved states of fits too.")] = False,
    config: Config = None,
    cache: Cache = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Remove the least recently used features, and with --fits what killed runs would go on from."""
    with told(debug):
        from earbench import store

        folder = settings_for(config, cache=cache).cache
        freed = store.prune(folder, keep_gb * 1e9) + (store.remove_fits(folder) if fits else 0)
        print(json.dumps({"freed_bytes": freed}) if json_ else f"{freed / 1e6:,.1f} MB freed")


def boards_of(settings: Settings, name: str | None) -> tuple[list[Any], list[Any]]:
    """The boards asked for, and the stored records that they are built from, briefly."""
    from earbench import boards, record

    if name is not None and name not in settings.boards:
        raise RequestError(f"no board called '{name}'", f"known: {', '.join(settings.boards)}")
    records = list(record.briefly(settings.results))
    asked = [plan for plan in settings.boards.values() if name in (None, plan.name)]
    return [boards.board(plan, records) for plan in asked], records


def why_no_rows(records: list[Any], settings: Settings, name: str | None) -> str:
    """Why no board that was asked for has a row: what there is, and what keeps it off."""
    from earbench.escapes import one_line
    from earbench.selection import why_empty

    fitting = [record for record in records if name is None or record.task in settings.boards[name].tasks]
    if records and not fitting:
        return f"{len(records)} records, none of a task of the board '{name}'"
    return one_line(why_empty(fitting))


def show_changes(base: Path, boards: list[Any], name: str | None, settings: Settings, as_json: bool) -> None:
    """How `boards` differ from those of the results folder `base`."""
    from dataclasses import asdict

    from earbench.changes import changes, markdown

    if not base.is_dir():
        raise RequestError(f"there is no results folder {base}", "--diff DIR is the folder that holds records/")
    before, _ = boards_of(settings.with_(results=base.resolve()), name)
    found = changes(before, boards)
    print(json.dumps({"changes": list(map(asdict, found))}, indent=1) if as_json else markdown(found), end="")


def main() -> None:
    """The entry point. Threads that wait for work sleep: two runs on one machine else slow each other tenfold."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app()


if __name__ == "__main__":
    main()
