"""The front door of ``greenctl``: the list of commands, and the one place where errors become exit statuses."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any, Final

import typer

from orchestrator.cli.frame import APP, COMPLETE_VARIABLE, Entry, LazyGroup
from orchestrator.cli.places import NO_ROOM, ROOM_HINT, onto
from orchestrator.cli.session import Session
from orchestrator.errors import Declined, DiskFull, ExitStatus, GreenctlError, UsageError

STDERR: Final = 2
START, RUN, UNDERSTAND, OPERATE = "Start here", "Run services", "Understand", "Operate"

ENTRIES: Final = (
    Entry("init", START, "Write a service file to start from."),
    Entry("validate", START, "Check service and policy files; nothing is contacted."),
    Entry("plan", START, "Show what a deploy would change, and why; nothing is changed.", only_looks=True),
    Entry("render", START, "Print the SkyPilot task of a replica on an offer; nothing is started.", only_looks=True),
    Entry("deploy", RUN, "Put a service where its policy says: plan, ask, apply, watch."),
    Entry("status", RUN, "Show services and replicas: state, grid, money.", only_looks=True),
    Entry("rollout", RUN, "Follow, pause and resume changes of a service."),
    Entry("pause", RUN, "Hold whatever is voluntary, of one service or of all."),
    Entry("resume", RUN, "Take back a pause, of one service or the one of everything."),
    Entry("migrate", RUN, "Move a replica to another region now."),
    Entry("logs", RUN, "Show the engine's own log lines of a replica.", only_looks=True),
    Entry("down", RUN, "Take a service down; its history is kept."),
    Entry("advise", UNDERSTAND, "Say what to do about a service: stay, move now, or change a limit.", only_looks=True),
    Entry("explain", UNDERSTAND, "Say why a service is where it is, with every number.", only_looks=True),
    Entry("history", UNDERSTAND, "List what happened to a service and what was decided.", only_looks=True),
    Entry("report", UNDERSTAND, "Total the energy, emissions and cost of a service.", only_looks=True),
    Entry("carbon", UNDERSTAND, "Show grid carbon intensity now and in the coming hours.", only_looks=True),
    Entry("signals", UNDERSTAND, "Look at the live carbon sources, and record what they say.", only_looks=True),
    Entry(
        "prices",
        UNDERSTAND,
        "Show what capacity costs: each offer's price with its source, age and kind.",
        only_looks=True,
    ),
    Entry(
        "policy",
        UNDERSTAND,
        "Show policies, and try them against the decisions that are expected of them.",
        only_looks=True,
    ),
    Entry("simulate", UNDERSTAND, "Let a service live through a recorded year under several policies."),
    Entry("bench", UNDERSTAND, "Measure greenctl against its rivals, on data that anyone can check."),
    Entry("doctor", OPERATE, "Check engine, gateway, controller, database, signals and orphans."),
    Entry("controller", OPERATE, "Start, stop and inspect the process that keeps services up."),
    Entry("gateway", OPERATE, "Start, stop and inspect the endpoint that clients talk to."),
    Entry("journal", OPERATE, "Check that the journal is as it was written, and go on from one that is not."),
    Entry("backup", OPERATE, "Copy the memory to a file, while everything runs."),
    Entry("restore", OPERATE, "Put a backup in the place of the memory; nothing acts on it until you say so."),
    Entry("config", OPERATE, "Show the settings and where each comes from."),
    Entry("schema", OPERATE, "Print the JSON Schema of a service file, for editors."),
    Entry("completion", OPERATE, "Print the completion script of a shell."),
    Entry("version", OPERATE, "Print the version."),
)

HELP = """Deploy LLM services where they do the least harm for the money.

Examples:
  greenctl init chat && greenctl plan chat/service.yaml    what would be done, and why
  greenctl deploy chat/service.yaml                        do it, after asking
  greenctl explain chat                                    why it is where it is
  greenctl report chat                                     energy, emissions, cost

Exit statuses: 0 done, 1 unexpected, 2 usage or invalid file, 3 refused by policy, 4 provider, engine or this machine,
5 signals or prices missing, 6 stopped waiting (work goes on), 7 out of date or in conflict, 8 you said no,
10 changes pending (plan --exit-code), 130 interrupted.
"""


class Root(LazyGroup):
    """All commands, and the end of every error."""

    entries = ENTRIES

    def main(  # type: ignore[override]  # Typer's signature, less what only Windows needs
        self,
        args: Sequence[str] | None = None,
        *,
        standalone_mode: bool = True,
        **extra: Any,  # noqa: ANN401
    ) -> int:
        """Run one command line and return its exit status; with ``standalone_mode``, exit with it."""
        words = list(sys.argv[1:] if args is None else args)
        session: Session = extra.pop("obj", None) or Session()
        extra.pop("prog_name", None)
        # Read before anything is parsed: an error in the words themselves is a document too.
        session.as_json = "--json" in words[: words.index("--") if "--" in words else None]
        session.debug = "--debug" in words

        if COMPLETE_VARIABLE in os.environ:
            _teach_shells()

        def run() -> object:
            return super(Root, self).main(words, APP, standalone_mode=False, obj=session, **extra)

        status = _exit_status(run, session)
        if session.unwritten is not None:
            _report(session.unwritten, session)
            status = status or int(session.unwritten.exit_status)
        session.close()
        _give_up_lost_streams()
        if standalone_mode:
            sys.exit(status)
        return status


def _teach_shells() -> None:
    """Let Typer answer a shell's completion script.

    Its own way would add two options to the front page, and with them pydantic to the start of every command.
    """
    from typer._completion_classes import completion_init  # noqa: PLC0415  # only when a shell asks

    completion_init()


def _exit_status(run: Callable[[], object], session: Session) -> int:
    try:
        result = run()
        with onto("standard output"):
            sys.stdout.flush()
    except typer.TyperException as error:
        _report(_as_usage(error), session)
        return int(ExitStatus.INVALID)
    except typer.Abort:
        _report(Declined("no answer came"), session)
        return int(ExitStatus.DECLINED)
    except GreenctlError as error:
        _report(error, session)
        return int(error.exit_status)
    except KeyboardInterrupt:
        return int(ExitStatus.INTERRUPTED)
    except OSError as error:
        full = DiskFull(f"something could not be written: {error.strerror}", hint=ROOM_HINT)
        _report(full if error.errno in NO_ROOM else error, session)
        return int(ExitStatus.PROVIDER if error.errno in NO_ROOM else ExitStatus.UNEXPECTED)
    except Exception as error:  # noqa: BLE001  # the last resort: a sentence instead of a traceback
        _report(error, session)
        return int(ExitStatus.UNEXPECTED)
    return result if isinstance(result, int) else int(ExitStatus.DONE)


def _as_usage(error: typer.TyperException) -> UsageError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else APP
    usage = UsageError(error.format_message().rstrip("."), hint=f"{path} --help shows the words it knows.")
    usage.__cause__ = error.__cause__
    return usage


def _report(error: Exception, session: Session) -> None:
    """Say it on standard error and, where a document was asked for, as that document on standard output.

    The error may be that one of them cannot be written: what cannot be said there is left unsaid.
    """
    from orchestrator.cli.render import errors  # noqa: PLC0415  # only now is Rich needed

    with suppress(OSError, DiskFull):
        session.complain(errors.render(error, verbose=session.verbose, debug=session.debug))
    if session.as_json:
        with suppress(OSError, DiskFull):
            session.write_document({"error": errors.document(error)})


def _give_up_lost_streams() -> None:
    """Let go of what a standard stream does not take: Python would try again at its end, and complain of it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


app = typer.Typer(
    cls=Root,
    name=APP,
    help=HELP,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(help=HELP)
def root(
    ctx: typer.Context,
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", show_default=False, is_eager=True)
    ] = False,
) -> None:
    """Deploy LLM services where they do the least harm for the money."""
    session = Session.of(ctx)
    session.only_looks = any(e.name == ctx.invoked_subcommand and e.only_looks for e in ENTRIES)
    if version:
        from orchestrator.cli.commands.version import show  # noqa: PLC0415  # no command is imported before it runs

        show(session)
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def main() -> None:
    """Run the command line; the entry point of the ``greenctl`` script."""
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            # A terminal that cannot show a character gets its code: a crash, or "?" for "unknown", would be worse.
            reconfigure(errors="backslashreplace")
    app()


def _open_what_is_closed() -> None:
    """Give whoever closed a standard stream (``>&-``) one that goes nowhere.

    Python has none then, and the next file that is opened, such as a database, would get its number.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(number, True)  # noqa: FBT003  # its own signature
    os.close(number)
    for standard, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, open(standard, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  # until we end
