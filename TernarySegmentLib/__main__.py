"""``python -m TernarySegmentLib``, and the command ``ternarysegment``."""

import signal
import sys


def main() -> int:
    """Run the command line; what it imports takes a while, in which an interruption ends it without a word."""
    interrupted = signal.getsignal(signal.SIGINT)
    if interrupted is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from TernarySegmentLib import cli

    if interrupted is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupted)
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
