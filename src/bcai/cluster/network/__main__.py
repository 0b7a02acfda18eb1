"""`python -m bcai.cluster.network`."""

import sys

from bcai.cluster.network.main import main

sys.exit(main())
