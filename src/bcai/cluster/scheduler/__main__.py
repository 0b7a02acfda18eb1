"""`python -m bcai.cluster.scheduler`."""

import sys

from bcai.cluster.scheduler.main import main

sys.exit(main())
