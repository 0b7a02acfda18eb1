"""What pip says when it fails, in one sentence with a way out."""

import pytest

from bcai.base.errors import BcaiError, DependencyError, InputError, UnreachableError
from bcai.cluster.node.pip_install import explain

RETRY = (
    "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after "
    "connection broken by 'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection "
    "object at 0x7f>: Failed to establish a new connection: [Errno -3] Temporary failure in name "
    "resolution')': /simple/humanize/"
)
NOT_FOUND = "ERROR: Could not find a version that satisfies the requirement "


@pytest.mark.parametrize(
    ("lines", "kind", "message", "hint"),
    [
        (
            [RETRY, NOT_FOUND + "humanize (from versions: none)"],
            UnreachableError,
            "[Errno -3] Temporary failure in name resolution",
            "PIP_NO_INDEX=1",
        ),
        (
            [NOT_FOUND + "nosuch (from versions: none)"],
            InputError,
            "requirement 'nosuch': pip finds no wheel",
            "--build",
        ),
        (
            [NOT_FOUND + "b>9 (from a) (from versions: 1.0, 2.0)", "ERROR: No matching"],
            InputError,
            "requirement 'b>9': pip finds no such version; the newest are 2.0, 1.0",
            "--build",
        ),
        (
            [
                "ERROR: Cannot install a and b because these versions conflict.",
                "",
                "The conflict is caused by:",
                "    The user requested b==1",
                "    a 1.0 depends on b>=2",
                "",
                "ERROR: ResolutionImpossible: for help visit https://pip.pypa.io",
            ],
            InputError,
            "contradict each other: The user requested b==1; a 1.0 depends on b>=2",
            "",
        ),
        (
            ["ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."],
            InputError,
            "DO NOT MATCH THE HASHES",
            "hashes",
        ),
        (
            ["ERROR: Could not install packages due to an OSError: No space left on device"],
            DependencyError,
            "No space left on device",
            "",
        ),
        (["Traceback", "  boom"], DependencyError, "boom", ""),
        ([], DependencyError, "pip failed", ""),
    ],
)
def test_what_pip_said_is_explained(
    lines: list[str], kind: type[BcaiError], message: str, hint: str
) -> None:
    error = explain(lines)
    assert type(error) is kind
    assert message in str(error)
    assert hint in error.hint
