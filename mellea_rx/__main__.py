"""`python -m mellea_rx` is the command line."""

from mellea_rx.cli import main

if __name__ == "__main__":
    main()
