"""EnhancedVM: runs an Executable and owns every live Tensor; observers see each step."""
