"""What a graph or a schedule is worth: figures beyond spectra and exactness, one idea a file."""
