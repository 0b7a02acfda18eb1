"""The definition: interprets the verified program itself, slowly and plainly, in NumPy."""
