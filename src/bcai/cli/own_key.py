"""`bcai keys own`: the public half of the key that signs what this user submits."""

import os

from bcai.base.errors import EXIT_OK
from bcai.cli.options import DEFAULT_OUTPUT, OutputOptions
from bcai.cli.terminal import print_json, say


def show_own_key(*, options: OutputOptions = DEFAULT_OUTPUT) -> int:
    """Print the key; the secret half stays in its file."""
    from bcai.proof.keys import key_id, own_key
    from bcai.settings import read_settings

    file = read_settings().client_key_file
    key = key_id(own_key(file, os.urandom).public)
    if options.json:
        print_json({"key": key, "file": str(file)})
    else:
        say(f"signs what you submit; its secret half is in {file}")
        print(key)  # noqa: T201 - stdout is the answer
    return EXIT_OK
