"""People: nobody sits before a job."""

from collections.abc import Iterator

from bcai.bridge.inspect.finding import Severity
from bcai.bridge.inspect.rule import Sighting, rule
from bcai.bridge.inspect.scene import Scene


@rule(
    "interaction.keyboard",
    Severity.REFUSED,
    "asks somebody to type",
    "give the script arguments (after `--`) or data files instead",
    fires=("name = input('name? ')\n", "epochs = int(input())\n"),
    spares=(
        "def input(text): ...\ninput('x')\n",
        "import fileinput\nfor line in fileinput.input(): ...\n",
    ),
)
def ask_somebody(scene: Scene) -> Iterator[Sighting]:
    """Standard input is empty: `input` raises EOFError."""
    replaced = bool(scene.attributes.get("stdin"))
    for call in scene.calls("input"):
        yield Sighting(call.node, "nobody can type into a job", call.certain and not replaced)
    for call in scene.calls("getpass.getpass", "breakpoint", "pdb.set_trace", "code.interact"):
        message = f"{call.name} waits for somebody to type"
        yield Sighting(call.node, message, severity=Severity.WARNING)


@rule(
    "interaction.window",
    Severity.NOTE,
    "shows a window",
    "save the figure, and keep it: bcai.output('curve.png', Path('curve.png'))",
    fires=("import matplotlib.pyplot as plt\nplt.show()\n", "import cv2\ncv2.imshow('a', None)\n"),
    spares=("import matplotlib.pyplot as plt\nplt.savefig('a.png')\n",),
)
def show_window(scene: Scene) -> Iterator[Sighting]:
    """There is no screen: `plt.show` does nothing, others fail."""
    for call in scene.calls("matplotlib.pyplot.show", "pylab.show", "cv2.imshow", "cv2.waitKey",
                            "turtle.Screen", "tkinter.Tk"):  # fmt: skip
        yield Sighting(call.node, f"{call.name}: a job has no screen")
