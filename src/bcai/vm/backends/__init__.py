"""One folder per device, Plan to Executable: reference (NumPy)."""
