"""``python -m gabp`` is the command ``gabp``."""

import sys

from gabp.cli.command import main

sys.exit(main())
