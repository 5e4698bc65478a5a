"""A second PEFT, from a source folder, in the same process as the installed one: both are timed in one run."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


class OtherPackages:
    """Packages from a source folder: imports find them within `with`, and the installed ones outside.

    Models made with them also work outside, if they import nothing. `names`: the packages that are imported again, PEFT
    and those that refer to it; if the folder does not have one, the installed one is used. Raises ValueError if the
    folder has no PEFT.
    """

    def __init__(self, folder: str | Path, names: tuple[str, ...] = ("peft",)) -> None:
        sources = [source for source in (Path(folder, "src"), Path(folder)) if (source / "peft/__init__.py").is_file()]
        if not sources:
            raise ValueError(f"{folder}: expected a folder with PEFT's sources (src/peft or peft), found none.")
        self.folder = folder
        self._source, self._names = str(sources[0].absolute()), names
        self._modules: dict[str, ModuleType] = {}
        self._hidden: dict[str, ModuleType] = {}

    def __enter__(self) -> "OtherPackages":
        self._hidden = self._take()
        sys.modules.update(self._modules)
        sys.path.insert(0, self._source)
        return self

    def __exit__(self, *_: Any) -> None:
        sys.path.remove(self._source)
        self._modules = self._take()
        sys.modules.update(self._hidden)

    def module(self, name: str) -> Any:
        """Import a module of one of the packages."""
        with self:
            return importlib.import_module(name)

    def _take(self) -> dict[str, ModuleType]:
        taken = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in self._names}
        for name in taken:
            del sys.modules[name]
        return taken
