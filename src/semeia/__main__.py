"""``python -m semeia`` is ``semeia``."""

import sys

from semeia.cli.main import main

sys.exit(main())
