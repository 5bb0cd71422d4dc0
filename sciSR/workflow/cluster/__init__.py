"""The same work on many machines: an existing Dask cluster, job arrays, blocks of very large images."""
