"""Sparse convolution: one set of layers over two engines, spconv and plain torch."""
