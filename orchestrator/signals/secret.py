"""Keys that are not in the settings themselves: in a file, or in the keyring of the desktop or the machine.

``file:/run/secrets/maps-key`` is the first line of that file; ``keyring:SERVICE/USER`` is asked of the ``keyring``
package, if it is installed. Anything else is the key itself.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Final

from orchestrator.errors import InvalidSettings

FILE: Final = "file:"
KEYRING: Final = "keyring:"
MOST_BYTES: Final = 8192


def resolved(value: str, name: str) -> str:
    """Return the key that a setting holds or refers to. ``name``: of the setting, ``signals.eia.key``, for messages.

    Raises ``InvalidSettings``, which never repeats the key.
    """
    if value.startswith(FILE):
        return _from_file(Path(value.removeprefix(FILE)).expanduser(), name)
    if value.startswith(KEYRING):
        return _from_keyring(value.removeprefix(KEYRING), name)
    return value


def _from_file(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        message = f"{name}: the key cannot be read from {path}: {reason}"
        raise InvalidSettings(
            message, hint="Name a file that holds the key and nothing else, readable by you."
        ) from error
    key = text.strip().partition("\n")[0].strip()
    if not key:
        raise InvalidSettings(f"{name}: {path} is empty", hint="Write the key into it.")
    return key


def _from_keyring(place: str, name: str) -> str:
    service, _, user = place.partition("/")
    if not service or not user:
        message = f"{name}: a place in the keyring has a service and a user"
        raise InvalidSettings(message, hint="Write keyring:SERVICE/USER.")
    try:
        keyring = importlib.import_module("keyring")
    except ImportError as error:
        message = f"{name} is in the keyring, and the package keyring is not installed"
        raise InvalidSettings(message, hint="Install it (pip install keyring), or use file:PATH.") from error
    try:
        key = keyring.get_password(service, user)
    except Exception as error:
        message = f"{name}: the keyring does not open: {type(error).__name__}"
        raise InvalidSettings(message, hint="Unlock it, or use file:PATH.") from error
    if not key:
        message = f"{name}: the keyring has nothing of {service}/{user}"
        raise InvalidSettings(message, hint=f"Store it: keyring set {service} {user}.")
    return str(key)
