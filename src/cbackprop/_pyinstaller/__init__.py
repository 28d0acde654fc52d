"""What PyInstaller asks the package for: where its hook is. Nothing else imports this."""

import os


def hook_dirs() -> list[str]:
    """The folder of the hook, by the entry point of the group pyinstaller40."""
    return [os.path.dirname(__file__)]
