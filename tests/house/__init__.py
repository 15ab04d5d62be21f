"""Tests of the house itself: the pin, the build, the layers, the style."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The tools in llama.cpp/ are no package: they run before there is one.
sys.path.insert(0, str(ROOT / "llama.cpp"))
