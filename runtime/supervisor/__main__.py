import sys

from runtime.supervisor.main import main

sys.exit(main())
