"""The files of a training job, and the names of what it leaves.

The job's entry is one step of the training, as the canonical bytes of a Program. Beside it stand
the Run (what was committed before) and, where an earlier run is continued, its checkpoints. Data
files are the rows to learn from and the state to start from: parameters and the optimizer's.
"""

ENTRY = "step.bcai"
RUN = "run.bcai"
CHECKPOINTS = "checkpoints.bcai"
ROWS = "rows.safetensors"
STATE = "state.safetensors"

FINAL_STATE = "state"
"""Output: every parameter of the step after the last one, a state_dict."""
HISTORY = "history"
"""Output: what the step puts out besides, such as the loss, one element for each step."""
