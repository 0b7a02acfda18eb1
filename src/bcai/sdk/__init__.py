"""Everything users import: SDK, Job, BCaiClient, TrainingJob."""
