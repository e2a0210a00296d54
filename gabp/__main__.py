"""``python -m gabp`` is the command ``gabp``."""

import sys

from gabp.app.command import main

sys.exit(main())
