"""``python -m TernarySegmentLib.bench SECTION JSON``: one section in a process of its own, its result on stdout."""

import json
import sys

from TernarySegmentLib.bench.command import MARK
from TernarySegmentLib.bench.sections import SECTIONS

if __name__ == "__main__":
    print(MARK + json.dumps(SECTIONS[sys.argv[1]](**json.loads(sys.argv[2]))))
