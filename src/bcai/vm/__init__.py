"""What a program is, whether it is legal, and what it computes."""
