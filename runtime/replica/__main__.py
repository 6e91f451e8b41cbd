"""``python -P -m runtime.replica --spec PATH``: one replica process."""

import gc
import sys

gc.disable()  # imports leave no garbage to speak of, and looking for it took a tenth of their time
from runtime.replica.main import main  # noqa: E402

gc.enable()

if __name__ == "__main__":
    sys.exit(main())
