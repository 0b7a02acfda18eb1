"""`python -m bcai.cluster.gateway`."""

import sys

from bcai.cluster.gateway.main import main

sys.exit(main(sys.argv[1:]))
