"""What is raised where a file is at fault."""


class FileError(Exception):
    """A file cannot be read, understood or written; the message names the file and the place in it."""
