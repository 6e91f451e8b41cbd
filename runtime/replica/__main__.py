"""``python -P -m runtime.replica --spec PATH``: one replica process."""

from runtime.replica.main import main

if __name__ == "__main__":
    raise SystemExit(main())
