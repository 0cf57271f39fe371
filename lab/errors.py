"""The one exception a person sees."""


class LabError(Exception):
    """A fault told in one clear sentence: what failed, why, and what to do next."""
