"""The errors this library raises on purpose: one sentence each, fit to be shown to a person."""


class TernarySegmentError(Exception):
    """Base class. The text is one sentence: what is wrong, with the value, and what to do next."""


class InputError(TernarySegmentError):
    """The image, file or folder given cannot be segmented."""


class ModelError(TernarySegmentError):
    """The model file is damaged, foreign or from a newer version."""


class OutputError(TernarySegmentError):
    """The result cannot be written where it was asked to go."""


class ArchiveError(TernarySegmentError):
    """The image archive cannot be reached, or refuses."""


class ClusterError(TernarySegmentError):
    """The machines that a batch was to run on cannot be used."""
