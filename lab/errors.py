"""The exception whose text the command line prints."""


class LabError(Exception):
    """An expected error. Its text names what failed, the cause and the next command."""
