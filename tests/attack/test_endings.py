"""How a script ends, in the words that its author reads."""

import pytest

from bcai.bridge.sandbox.jail import Cause

from .jails import Jail


@pytest.mark.parametrize(
    ("code", "cause", "message", "status"),
    [
        ("pass", Cause.EXITED, "exited with status 0", 0),
        ("exit(1)", Cause.EXITED, "exited with status 1", 1),
        ("import sys; sys.exit('no data')", Cause.EXITED, "exited with status 1: no data", 1),
        ("import os; os._exit(3)", Cause.EXITED, "exited with status 3", 3),
        ("import os; os.kill(os.getpid(), 9)", Cause.SIGNAL, "killed by SIGKILL (Killed)", -9),
        (
            "import os; os.kill(os.getpid(), 15)",
            Cause.SIGNAL,
            "killed by SIGTERM (Terminated)",
            -15,
        ),
        ("import os; os.abort()", Cause.SIGNAL, "killed by SIGABRT (Aborted)", -6),
        (
            "import ctypes; ctypes.string_at(0)",
            Cause.SIGNAL,
            "killed by SIGSEGV (Segmentation fault)",
            -11,
        ),
    ],
)
def test_exits_and_signals(jail: Jail, code: str, cause: Cause, message: str, status: int) -> None:
    ended = jail.run(code).exit
    assert (ended.cause, ended.message, ended.exit_status) == (cause, message, status)


def test_an_exit_waits_for_threads_as_python_does(jail: Jail) -> None:
    run = jail.run(
        "import sys, threading, time\n"
        "threading.Thread(target=lambda: (time.sleep(0.3), print('done'))).start()\n"
        "sys.exit(3)\n"
    )
    assert (run.exit.exit_status, run.stdout) == (3, "done\n")


def test_an_exception_shows_the_users_lines_only(jail: Jail) -> None:
    (jail.folder / "model.py").write_text("def fit(n):\n    return 1 / n\n")
    run = jail.run("import model\n\nmodel.fit(0)\n")
    assert run.exit.cause is Cause.EXCEPTION
    assert run.exit.message == "ZeroDivisionError: division by zero (model.py, line 2)"
    assert run.exit.user_line == 2
    assert 'File "job.py", line 3, in <module>\n    model.fit(0)' in run.stderr
    assert "bcai" not in run.stderr


def test_a_syntax_error_shows_the_line_and_a_caret(jail: Jail) -> None:
    run = jail.run("a = 1\nb = = 2\n")
    assert run.exit.cause is Cause.SYNTAX_ERROR
    assert run.exit.user_line == 2
    assert "job.py, line 2" in run.exit.message
    assert "    b = = 2\n        ^" in run.stderr


@pytest.mark.parametrize("code", [b"x = '\xff'\n", b"x = 1\0\n", b"# -*- coding: klingon -*-\n"])
def test_a_file_that_is_no_python(jail: Jail, code: bytes) -> None:
    assert jail.run(code).exit.cause is Cause.SYNTAX_ERROR


def test_a_missing_package_says_how_to_ask_for_it(jail: Jail) -> None:
    ended = jail.run("import cv2\n").exit
    assert ended.cause is Cause.MISSING_IMPORT
    assert "opencv-python" in ended.message
    assert 'requirements=["opencv-python"]' in ended.hint


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("import subprocess; subprocess.run(['ls'])", "cannot start other programs"),
        ("import os; os.system('ls') and 1/0", ""),
        ("import urllib.request as u; u.urlopen('http://example.com')", "no network"),
        ("open('/input/project/job.py', 'w')", "read-only"),
        ("import multiprocessing as m; m.get_context('spawn').Pool(1)", "'fork'"),
        ("import multiprocessing as m; m.get_context('forkserver').Pool(1)", "'fork'"),
        ("input('name? ')", "arguments"),
    ],
)
def test_what_the_jail_refuses_is_explained(jail: Jail, code: str, hint: str) -> None:
    ended = jail.run(code).exit
    assert ended.cause is Cause.EXCEPTION
    assert hint in ended.hint


def test_nan_is_told_once(jail: Jail) -> None:
    run = jail.run(
        "import bcai\n"
        "for step in range(10, 15): bcai.log(step=step, loss=float('nan') if step > 11 else 1.0)\n"
    )
    assert run.exit.warnings == ("loss became nan at step 12",)
    assert [metric.step for metric in run.metrics] == [10, 11, 12, 13, 14]


def test_a_name_in_both_project_and_data_is_refused(jail: Jail) -> None:
    jail.data = jail.folder.parent / "data"
    jail.data.mkdir()
    (jail.data / "job.py").write_text("")
    ended = jail.run("pass").exit
    assert ended.cause is Cause.EXCEPTION
    assert "'job.py'" in ended.message


def test_project_and_data_are_in_the_working_folder(jail: Jail) -> None:
    jail.data = jail.folder.parent / "data"
    jail.data.mkdir()
    (jail.data / "table.csv").write_text("1,2\n")
    (jail.folder / "package").mkdir()
    (jail.folder / "package" / "__init__.py").write_text("answer = 42\n")
    jail.arguments = ("--epochs", "3")
    run = jail.run(
        "import sys, package\n"
        "from pathlib import Path\n"
        "answer = package.answer\n"
        "text = open('table.csv').read()\n"
        "beside = Path(__file__).with_name('table.csv').read_text()\n"
        "arguments = sys.argv\n"
    )
    assert run.values == {
        "answer": 42,
        "text": "1,2\n",
        "beside": "1,2\n",
        "arguments": ["job.py", "--epochs", "3"],
    }


def test_hostile_text_is_shown_not_obeyed(jail: Jail) -> None:
    run = jail.run("import os\nos.write(1, b'\\x1b[2J\\xff ok\\n')")
    assert run.stdout == "\\x1b[2J\\xff ok\n"


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos.close(3)",
        "import os\nos.closerange(0, 100)",
        "import os, time\nif os.fork() == 0:\n    os.kill(os.getppid(), 9)\ntime.sleep(60)",
        "import os\nfor n in range(1, 65):\n    try: os.kill(1, n)\n    except OSError: pass",
        "import sys\ndel sys.modules['bcai.bridge.report']; sys.stdout = None",
        "import builtins\nbuiltins.open = None; builtins.isinstance = None",
        "import gc\nfor o in gc.get_objects():\n    if isinstance(o, dict): o.pop('x', None)",
    ],
)  # fmt: skip
def test_sabotage_of_the_runner_ends_in_an_answer(jail: Jail, code: str) -> None:
    assert jail.run(code, wall_s=30.0).exit.cause in (
        Cause.EXITED,
        Cause.SIGNAL,
        Cause.EXCEPTION,
    )


def test_garbage_on_the_channel_ends_the_job(jail: Jail) -> None:
    run = jail.run(
        "import socket\ns = socket.socket(fileno=3)\nwhile True: s.send(b'garbage')", wall_s=60.0
    )
    assert run.exit.cause is Cause.OUTPUT_INVALID


def test_lies_about_outputs_are_found(jail: Jail) -> None:
    run = jail.run(
        "import json, os, socket\n"
        "s = socket.socket(fileno=3)\n"
        "os.pwrite(4, b'not a tensor', 8)\n"
        "s.send(json.dumps({'type': 'output', 'name': 'a', 'kind': 'array', 'offset': 8,\n"
        "                   'size': 12}).encode())\n"
    )
    assert run.exit.cause is Cause.OUTPUT_INVALID
    assert run.exit.outputs == ()


def test_progress_beyond_the_end_is_clamped(jail: Jail) -> None:
    run = jail.run(
        'import socket\nsocket.socket(fileno=3).send(b\'{"type": "progress", "fraction": 1e9}\')\n'
    )
    assert run.progress == [1.0]
