"""Evidence: what a run commits to, its trace, replay, bisection, the signed receipt."""
