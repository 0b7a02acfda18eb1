"""The Python code that a Program holds."""

from bcai.bridge.inspect.program_code import ProgramCode
from bcai.vm.isa.ops.hybrid import python_execute
from bcai.vm.program.program import Program


def code_of_program(program: Program) -> list[ProgramCode]:
    """List the code of every `PythonExecute`, in the order in which they run."""
    return [
        ProgramCode(number, str(each.attributes["code"]), str(each.attributes["sandbox"]))
        for number, each in enumerate(program.instructions)
        if each.op is python_execute
    ]
