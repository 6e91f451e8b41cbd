"""``python -P -m runtime.router --spec PATH``."""

import sys

from runtime.router.main import main

if __name__ == "__main__":
    sys.exit(main())
