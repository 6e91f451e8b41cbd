"""``mux schema``: print the JSON Schema of the configuration, for editors."""

from __future__ import annotations

import sys

from mux_cli.options import command, examples

app = command()


@app.command(epilog=examples("mux schema > mux.schema.json"))
def schema() -> None:
    """Print the JSON Schema of the configuration.

    Editors with a YAML language server use it if mux.yaml begins with the line
    '# yaml-language-server: $schema=mux.schema.json'.
    """
    from runtime.config import schema_text

    sys.stdout.write(schema_text().rstrip("\n") + "\n")
