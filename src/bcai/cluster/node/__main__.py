"""`python -m bcai.cluster.node`."""

import sys

from bcai.cluster.node.main import main

sys.exit(main())
