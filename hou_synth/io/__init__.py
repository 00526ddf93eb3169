"""Files, images, tables, and what every command line does with a mistake."""
