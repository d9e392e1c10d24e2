"""`python -m zoo`, the same as the `zoo` command."""
from __future__ import annotations

import sys

from zoo.cli import main

sys.exit(main())
