"""
The version of this product: the one place where it is written. Pure.
"""

VERSION = "0.5.0"
