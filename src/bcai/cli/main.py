"""`bcai`: reads the command line, runs one command, and turns every error into an exit status.

The commands are imported when they are called, so that `bcai --help` is quick.
"""

import os
import re
import sys
from collections.abc import Sequence
from itertools import pairwise

from cyclopts import App, CycloptsError, Parameter, UnknownOptionError

import bcai
from bcai.base.errors import EXIT_OK, BcaiError, InputError
from bcai.cli.after_dashes import AFTER_DASHES
from bcai.cli.failure import report_failure

EXIT_INTERRUPTED = 130  # what shells give for Ctrl-C: 128 + SIGINT
EXIT_PIPE_CLOSED = 141  # and for a reader that left, such as `head`: 128 + SIGPIPE
_NO_VALUE = re.compile(r"(?P<option>--[a-z-]+)=")

_RUN_HELP = """Run a script or a project folder on a network.

On a terminal the job is shown live; Ctrl-C cancels it, twice leaves it running. In a pipe, stdout
is the job's own stdout and everything else goes to stderr. With no network configured, one is
started on this machine.
"""
_LOGS_HELP = """Print what a job printed; -f follows it.

The job's stdout goes to stdout, its stderr to stderr. Ctrl-C does not touch the job.
"""
_INSPECT_HELP = """Read the Python of a script, project or program; say what would fail in the jail.

Nothing of it is run or imported. Exit status 3 if a node would refuse it, else 0.
"""
_DOCTOR_HELP = """Say what this machine can do, and what is missing.

The jail is really built and tried. Exit status 0 if jobs can run here, else 3.
"""
_ENVIRONMENT_HELP = """Build an environment with pip, ahead of time.

It is locked, read-only, and complete or not there at all. pip's own settings count: PIP_INDEX_URL,
PIP_NO_INDEX, PIP_FIND_LINKS.
"""
_REPLAY_HELP = """Run what a receipt is about once more, and compare every checkpoint.

Any backend gives the same bits. Exit status 1 if a checkpoint comes out otherwise.
"""
_CHALLENGE_HELP = """Do jobs of other nodes again, and name those that lied.

It takes the jobs that asked for a check (`--verify`) and were drawn. Needs a key of its own, for
role `node`. Nothing is lost when it is stopped: what it has not reported is due for the next one.
"""
_DISPUTE_HELP = """Find where two receipts of one run part, and say which is wrong.

The steps are run again here. With the folder that a node kept, down to step and instruction.
"""
_OWN_KEY_HELP = """Print the key that signs what you submit; it is made on first use.

It is public. A node that names it in `[node] trusted_keys` runs your jobs of level `trusted`.
"""
_COMMANDS = {
    "run": ("bcai.cli.run:run", _RUN_HELP),
    "inspect": ("bcai.cli.inspect:inspect", _INSPECT_HELP),
    "create-project": ("bcai.cli.create_project:create_project", "Start a project that runs."),
    "doctor": ("bcai.cli.doctor:doctor", _DOCTOR_HELP),
    "up": ("bcai.cli.up:up", "Run a network on this machine, until Ctrl-C."),
    "down": ("bcai.cli.down:down", "Stop this machine's own network."),
    "replay": ("bcai.cli.replay:replay", _REPLAY_HELP),
    "dispute": ("bcai.cli.dispute:dispute", _DISPUTE_HELP),
    "status": ("bcai.cli.status:status", "Show the network in use and its nodes."),
}
_JOBS = {
    "list": ("bcai.cli.jobs.list:list_jobs", "List jobs, newest first."),
    "show": ("bcai.cli.jobs.show:show_job", "Show one job: state, reason, attempts, outputs."),
    "logs": ("bcai.cli.jobs.logs:show_logs", _LOGS_HELP),
    "cancel": ("bcai.cli.jobs.cancel:cancel_job", "Cancel a job."),
    "results": ("bcai.cli.jobs.results:show_results", "Show a job's outputs, or save them."),
}
_KEYS = {
    "list": ("bcai.cli.keys:list_keys", "List the API keys."),
    "add": ("bcai.cli.keys:add_key", "Make an API key; its secret is shown once."),
    "revoke": ("bcai.cli.keys:revoke_key", "Switch an API key off."),
    "own": ("bcai.cli.own_key:show_own_key", _OWN_KEY_HELP),
}
_NODE = {"challenge": ("bcai.cli.challenge:challenge", _CHALLENGE_HELP)}
_ENVIRONMENTS = {
    "add": ("bcai.cli.environments:add_environment", _ENVIRONMENT_HELP),
    "list": ("bcai.cli.environments:list_environments", "List the environments."),
    "show": ("bcai.cli.environments:show_environment", "Show one: Python, packages, lock file."),
    "remove": ("bcai.cli.environments:remove_environment", "Remove one; jobs in it go on."),
    "check": ("bcai.cli.environments:check_environments", "Read every file again and compare."),
}
_PROGRAM = {
    "verify": ("bcai.cli.program:verify_program", "Check a program and sum it up."),
    "show": ("bcai.cli.program:show_program", "Print a program as assembly, or convert it."),
    "hash": ("bcai.cli.program:hash_program", "Print what identifies a program."),
    "run": ("bcai.cli.program:run_program", "Run a program here, without a network."),
}
_RECEIPT = {
    "check": ("bcai.cli.receipt:check_receipt", "Check a receipt, offline; 1 if it does not fit."),
    "show": ("bcai.cli.receipt:show_receipt", "Show a receipt, or write it as a page."),
}


def build_app() -> App:
    """Assemble the commands, without importing them."""
    app = App(
        name="bcai",
        help="Machine-learning jobs on computers you do not have to trust.",
        help_epilogue="Begin with `bcai create-project hello`, or `bcai doctor`.",
        version=bcai.__version__,
        help_format="markdown",
        default_parameter=Parameter(show_default=False),
        suppress_keyboard_interrupt=False,
        end_of_options_delimiter="--",
    )
    jobs = App(
        name="jobs", help="List, show, follow and cancel jobs.", help_epilogue="", sort_key=10
    )
    keys = App(
        name="keys",
        help="List, add and revoke API keys, as an admin; show the key that signs your jobs.",
        help_epilogue="",
        sort_key=10,
    )
    program = App(
        name="program",
        help="Check, show, hash and run programs of the instruction set.",
        help_epilogue="",
        sort_key=10,
    )
    node = App(
        name="node",
        help="What a node on this machine offers to jobs, and audits of other nodes.",
        help_epilogue="",
        sort_key=10,
    )
    environments = App(
        name="env", help="Pythons with packages, built ahead of time.", help_epilogue=""
    )
    node.command(environments)
    app.command(node)
    receipt = App(
        name="receipt",
        help="Check and show receipts: what was run, what came out, who answers for it.",
        help_epilogue="",
        sort_key=10,
    )
    groups = (
        (app, _COMMANDS),
        (node, _NODE),
        (environments, _ENVIRONMENTS),
        (jobs, _JOBS),
        (keys, _KEYS),
        (program, _PROGRAM),
        (receipt, _RECEIPT),
    )
    for parent, commands in groups:
        if parent not in (app, node, environments):
            app.command(parent)
        for place, (name, (home, help_text)) in enumerate(commands.items()):
            parent.command(home, name=name, help=help_text, sort_key=place, help_epilogue="")
    app.register_install_completion_command()  # pyright: ignore[reportUnknownMemberType]
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `bcai` command."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    is_open = True
    try:
        status = _run(tokens)
        sys.stdout.flush()
    except BrokenPipeError:
        status = EXIT_PIPE_CLOSED
    except OSError as error:  # such as a full disk: the answer cannot be written
        is_open, status = False, report_failure(error, as_json=False, verbose=False)
    if status == EXIT_PIPE_CLOSED or not is_open:
        # Python flushes at exit: give it somewhere to write, or it complains about the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(status)


def _run(tokens: list[str]) -> int:
    own = tokens[: tokens.index("--")] if "--" in tokens else tokens
    AFTER_DASHES.set(max(0, len(tokens) - len(own) - 1))
    as_json, verbose = "--json" in own, "--verbose" in own
    try:
        _refuse_empty(own)
        result: object = build_app()(
            tokens, exit_on_error=False, print_error=False, result_action="return_value",
        )  # fmt: skip
    except CycloptsError as error:
        return report_failure(_usage_error(error), as_json=as_json, verbose=verbose)
    except BcaiError as error:
        return report_failure(error, as_json=as_json, verbose=verbose)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return EXIT_PIPE_CLOSED
    except Exception as error:  # noqa: BLE001 - the process's main: no traceback reaches a user
        return report_failure(error, as_json=as_json, verbose=verbose)
    return result if isinstance(result, int) else EXIT_OK


def _refuse_empty(own: Sequence[str]) -> None:
    """Refuse what is empty: it would be taken for the default, or a path for this very folder."""
    for before, token in pairwise(["", *own]):
        glued = _NO_VALUE.fullmatch(token)
        if token and glued is None:
            continue
        option = glued["option"] if glued else before
        place = option if option.startswith("-") else "an argument"
        raise InputError(
            f"{place}: found '', expected a value", hint="a shell variable may be empty"
        )


def _usage_error(error: CycloptsError) -> InputError:
    """Turn what the parser says into one sentence and the command to ask for help."""
    error.verbose = False
    chain = " ".join(["bcai", *(error.command_chain or ())])
    hint = f"see: {chain} --help"
    if isinstance(error, UnknownOptionError) and chain == "bcai run":
        hint += "; options of the script follow after two dashes: bcai run SCRIPT -- OPTIONS"
    return InputError(" ".join(str(error).split()), hint=hint)
