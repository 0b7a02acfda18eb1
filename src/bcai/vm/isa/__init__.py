"""The instruction set. The only place where an instruction is declared."""
