"""Where processes run: on this machine (``local.py``), or wherever another engine puts them."""
