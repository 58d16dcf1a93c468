"""The proof that wide equals pivoted narrow, cell by cell. May import config."""
