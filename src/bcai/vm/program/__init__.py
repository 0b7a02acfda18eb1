"""Build, verify, print, parse, encode, decode. Program, Instruction, VerifiedProgram."""
