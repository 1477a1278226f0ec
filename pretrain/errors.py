"""What goes wrong in training, said in one sentence."""

from corpus.errors import LodeError


class TrainingError(LodeError):
    """Something the user can change: the message names the file or setting, and what to do about it."""
