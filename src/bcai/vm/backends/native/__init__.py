"""Native code for this machine's processor, emitted as LLVM IR: the defined bits at full speed."""
