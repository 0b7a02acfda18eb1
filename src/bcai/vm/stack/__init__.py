"""The legacy stack machine, frozen; its bytecode can be rewritten to a Program."""
