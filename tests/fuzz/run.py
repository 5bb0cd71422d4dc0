"""``python tests/fuzz/run.py``; see ``fuzz_running.py``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fuzz_running import main

if __name__ == "__main__":
    sys.exit(main())
