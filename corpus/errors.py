"""The one exception whose message a user is meant to read."""


class LodeError(Exception):
    """One clear sentence that names the file, row or setting at fault and says what to do about it."""

    exit_status = 1
