"""Numerical kernels of `sarheight`: arrays in, arrays out.

Nothing here opens a file or knows of xarray: NumPy and Numba are the only dependencies. Lengths
are metres, times are seconds and angles are radians. Each module holds one piece of physics and
is imported by its name, such as ``sarheight_kernels.orbit``.
"""
