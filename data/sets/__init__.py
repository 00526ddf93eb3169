"""Data sets of synthetic patches on disk: one HDF5 file, or folders of PNGs."""
