"""What the tests of several files share."""

from __future__ import annotations

from pathlib import Path

import cbackprop

TESTS = Path(__file__).resolve().parent
REPOSITORY = TESTS.parent
# Where the package is imported from: processes that a test starts take it from there, too.
SOURCE = str(Path(cbackprop.__file__).resolve().parent.parent)
