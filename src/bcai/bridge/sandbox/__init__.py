"""Host side: probe, policy, launcher, zygote, supervisor."""
