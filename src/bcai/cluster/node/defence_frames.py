"""How questions and answers are framed between a node and the process that defends its result."""

LENGTH_BYTES = 4  # of a question, highest byte first
ANSWER_LENGTH_BYTES = 8
