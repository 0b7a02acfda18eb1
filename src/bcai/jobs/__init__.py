"""The market's vocabulary: JobSpec, Job and its states, Node, Outcome."""
