"""A run's folder as the driver writes it: so that `kill -9` at any moment loses no finished trial."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blockforge.errors import BlockforgeError

if TYPE_CHECKING:
    from blockforge.network import Network

COMPLETE, FAILED = "complete", "failed"
RUN, LOCK, NETWORK, METRICS, WEIGHTS = ("run.json", ".lock", "network.yaml", "metrics.json", "weights.safetensors")
LOG = "workers.log"


def write(path: Path, content: str | bytes) -> None:
    """Write a file so that, whatever happens, it is there whole or not at all."""
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    write(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that blockforge wrote; raises `BlockforgeError`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it holds no JSON"
        raise BlockforgeError(f"{path}: can't be read: {reason}; give another run") from None
    if not isinstance(content, dict):
        raise BlockforgeError(f"{path}: can't be read: it holds no mapping; give another run")
    return content


def records(run: Path) -> dict[Path, dict[str, Any]]:
    """The `metrics.json` of all trials that ended, by their folders, in the order of their numbers."""
    files = sorted((run / "trials").glob(f"*/{METRICS}"), key=lambda file: int(file.parent.name))
    return {file.parent: read_json(file) for file in files}


def network_of(trial: Path) -> Network:
    """The architecture of a trial's folder."""
    from blockforge.network import Network

    return Network.from_yaml((trial / NETWORK).read_text(encoding="utf-8"))


class Folder:
    """A run's folder in the hands of one driver."""

    def __init__(self, path: Path) -> None:
        """Nothing is touched before `claim`."""
        self.path = path

    @contextmanager
    def claim(self, settings: Mapping[str, Any], identity: tuple[str, ...]) -> Iterator[None]:
        """Make the folder, or go on in it if it holds a run that agrees in the settings named by `identity`.

        Raises `BlockforgeError` when it belongs to another search, can't be written, or is in use.
        """
        from filelock import FileLock, Timeout

        try:
            if self.path.is_dir():
                self._compare(settings, identity)  # so that what is refused stays as it was, without a lock file
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / LOCK)
            lock.acquire(timeout=0)
        except Timeout:
            raise BlockforgeError(
                f"{self.path}: another search is running in it; wait for its end, or give another --run"
            ) from None
        except OSError as error:
            raise BlockforgeError(f"{self.path}: can't be written: {error.strerror}; give another --run") from None
        try:
            self._compare(settings, identity)
            if not (self.path / "trials").exists():
                (self.path / "study.db").unlink(missing_ok=True)  # of a search that ended before its first trial
            yield
        finally:
            lock.release()

    def _compare(self, settings: Mapping[str, Any], identity: tuple[str, ...]) -> None:
        if not (self.path / RUN).is_file():
            # A search that was stopped in its first moments leaves a log at most.
            if any(not file.name.startswith(".") and file.name != LOG for file in self.path.iterdir()):
                raise BlockforgeError(f"{self.path}: is not empty, and holds no run; give another --run")
            return
        if not (self.path / "trials").exists():  # it ended before its first trial, and what it asked may be mended
            return
        before = read_json(self.path / RUN)
        for key in identity:
            old, new = before.get(key), json.loads(json.dumps(settings[key]))
            if old == new:
                continue
            if key == "space":
                what = f"belongs to the space {old!r}, and this is {new!r}"
            elif key == "digest":
                what = f"belongs to the space {settings['space']!r} as it was before its file was changed"
            else:
                what = f"was searched with {key} {_short(old)}, and this asks for {_short(new)}"
            raise BlockforgeError(f"{self.path}: {what}; give another --run, or remove the folder")

    def trial(self, number: int) -> Path:
        """The folder of a trial, `trials/0017`."""
        return self.path / "trials" / f"{number:04d}"

    def begin(self, number: int, network: str) -> None:
        """Note a trial's architecture, so that it can be trained again if the driver is killed."""
        self.trial(number).mkdir(parents=True, exist_ok=True)
        write(self.trial(number) / NETWORK, network)

    def finish(self, number: int, record: Mapping[str, Any], weights: bytes | None) -> None:
        """Keep what a trial gave; `metrics.json` comes last, and with it the trial has ended."""
        if weights is not None:
            write(self.trial(number) / WEIGHTS, weights)
        write_json(self.trial(number) / METRICS, record)


def _short(value: Any) -> str:
    if not value and not isinstance(value, int | float):
        return "none"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_short(each)}" for key, each in value.items()) + "}"
    return str(value)
