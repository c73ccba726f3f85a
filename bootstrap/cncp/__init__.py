"""cncp: IPython Parallel clusters on anything you can log in to."""

__version__ = "0.1.0"
