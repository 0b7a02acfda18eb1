"""Static analysis of submitted code: findings with line numbers. Advice, never the wall."""
