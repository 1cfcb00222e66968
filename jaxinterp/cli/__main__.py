"""`python -m jaxinterp.cli`."""

from jaxinterp.cli import main

if __name__ == "__main__":
    main()
