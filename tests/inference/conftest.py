"""The engine's tests share their scenes by import."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
