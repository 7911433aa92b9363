"""`python -m terraloom`."""

from terraloom.cli import main

main()
