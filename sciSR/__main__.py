"""``python -m sciSR`` is the ``scisr`` command."""

import sys

from sciSR.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
