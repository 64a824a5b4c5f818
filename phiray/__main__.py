"""Run phiray as `python -m phiray`."""

from phiray.cli import main

if __name__ == "__main__":
    main()
