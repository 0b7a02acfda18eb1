"""How much source one inspection reads, with the reasons. What is over is named as unseen."""

FILE_BYTES_MAX = 1 << 20  # as long as a script may be
TOTAL_BYTES_MAX = 4 << 20  # of one project: a node looks at it before each of its jobs
# Signs and line ends: they, and not bytes, make the tree. The parser lets no other thread run, and
# a node has leases to keep: so many take it half a second. 10,000 lines by people have 90,000.
SIGNS_MAX = 100_000  # in one file
TOTAL_SIGNS_MAX = 200_000  # in one project
FILES_MAX = 500
FINDINGS_KEPT_MAX = 50  # they travel with the job's record; the counts are of all
FINDINGS_PER_RULE_MAX = 20  # in one file: the twentieth pickle tells nobody anything new
UNSEEN_KEPT_MAX = 20
TEXT_MAX = 300  # characters of one message: part of it is the job's own text
INNER_DEPTH_MAX = 3  # source in a string in a string in a string
INNER_SOURCES_MAX = 50
INNER_SIGNS_MAX = 2_000  # of each of them
FOLD_CHARACTERS_MAX = 1 << 16  # of a text that is computed from constants
FOLD_DEPTH_MAX = 20
RESOLVE_DEPTH_MAX = 40  # a.b.c.d...: no module is deeper
STRING_CHARACTERS_MAX = 4096  # a longer constant is data, not a path or a name
