"""``python -m TernarySegmentLib``."""

import sys

from TernarySegmentLib.cli import main

sys.exit(main())
