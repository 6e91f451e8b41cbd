"""``python -m mux_cli`` is ``mux``."""

from mux_cli.app import main

main()
