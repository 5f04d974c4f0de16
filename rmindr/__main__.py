"""`python -m rmindr` is the `rmindr` command."""

from rmindr.cli import main

if __name__ == "__main__":
    main()
