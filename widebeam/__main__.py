"""`python -m widebeam` is the command, too."""

from widebeam.cli import main

main()
