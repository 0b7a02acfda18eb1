"""WebAssembly jobs: what a module may import, and how it runs to the same end every time."""
