"""The version that scripts read as ``bcc.__version__``: the BCC whose surface this is."""

__version__ = "0.35.0"
