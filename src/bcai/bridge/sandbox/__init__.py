"""Host side: probe, policy, launcher, supervisor."""
