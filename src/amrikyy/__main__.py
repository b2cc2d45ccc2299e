"""`python -m amrikyy` is the `amrikyy` command."""

from amrikyy.cli import main

main()
