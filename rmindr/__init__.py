"""rmindr: hand over a message and an instant; the mail goes out when it is due, once."""

__version__ = "0.1.0"
