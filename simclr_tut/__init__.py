"""Shared helpers of the SimCLR tutorial; each name is imported from its module."""

__version__ = "0.1.0"
