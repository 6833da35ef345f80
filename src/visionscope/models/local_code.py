"""Python files of the user's own: run from the disk as they are now, apart from any others, and known by their content.

What Python itself would do is not enough. A module of that name may lie in `sys.modules` from another folder or from
before a change, and a cached `.pyc` is taken where time and size of its source are the same.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from visionscope.core.files import read_regular
from visionscope.models.files_read import FilesRead
from visionscope.models.find import read_source
from visionscope.models.places import is_installed, real
from visionscope.models.surroundings import Surroundings

_LARGEST_COMPILED = 2**30
# Two copies of these can't live beside one another: networks are told apart by their classes.
_LIBRARIES = ("visionscope", "torch", "torchvision", "timm", "transformers", "numpy", "einops", "safetensors", "PIL")
_COMPILED = tuple(EXTENSION_SUFFIXES)  # such modules can't be brought in twice; they are known by their content, too
_NEVER_APART = {*_LIBRARIES, "__main__", *sys.stdlib_module_names}
_staying: dict[str, Any] = {}  # modules that are nobody's own, by name
_lock = threading.RLock()  # sys.modules and sys.path are one for all threads


class LocalCode:
    """The modules that one Python file brings in, kept apart from everybody else's.

    Local is what is not installed (`site-packages`, the standard library), wherever it lies. Each local module is run
    anew from its source, whatever Python has in `__pycache__` and, of those under the file's folder or the working
    directory, in `sys.modules`; afterwards `sys.modules` and `sys.path` are as they were. Imports that the modules run
    later, inside their functions, find the same modules and the same path again.

    Args:
        folder: of the file; it stands first where modules are looked for.

    Attributes:
        sources: content of every local module by its name and place, as it was run, or would be by an import that no
            one has reached yet.
    """

    def __init__(self, folder: Path) -> None:
        self._roots = tuple(os.path.join(os.path.realpath(place), "") for place in (folder, Path.cwd()))
        self._folder = str(folder)
        self._path: list[str] = []
        self._files = FilesRead()
        self._surroundings = Surroundings()
        self._modules: dict[str, ModuleType] = {}
        self._inside = 0
        self._own: set[str] = set()
        self.sources: dict[tuple[str, str], bytes] = {}

    def run(self, module: ModuleType, source: bytes, path: str) -> None:
        """Runs a module's source in it.

        Args:
            module: that it becomes.
            source: as the file has it.
            path: of the file, for tracebacks.

        Raises:
            BaseException: what the code raises.
        """
        self._own.add(os.path.abspath(path))
        code: CodeType = compile(source, path, "exec", dont_inherit=True)
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": self._import}
        with self.entered():
            exec(code, vars(module))

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Inside, imports find these modules; what the code prints goes to stderr, so that no table of ours is spoilt.

        Afterwards the process's settings (`Surroundings`) are as they were.
        """
        if self._inside:  # also in a thread that the code started, and may be waiting for
            yield
            return
        with _lock:
            aside = self._ours()
            for name in aside:
                del sys.modules[name]
            sys.modules.update(self._modules)
            before, known = list(sys.path), set(sys.modules) - set(self._modules)
            sys.path[:] = dict.fromkeys(self._path or [self._folder, *before])
            importlib.invalidate_caches()
            ordinary = SourceFileLoader.exec_module
            SourceFileLoader.exec_module = self._loading(ordinary)  # type: ignore[method-assign]
            self._inside += 1
            try:
                with self._surroundings.kept(), self._files.noting(), redirect_stdout(sys.stderr):
                    yield
            finally:
                self._inside -= 1
                SourceFileLoader.exec_module = ordinary  # type: ignore[method-assign]
                # What the code has put on the path is its own: another's module of that name may lie there.
                self._path = list(sys.path)
                sys.path[:] = before
                brought = self._ours(known)
                for name in brought:
                    del sys.modules[name]
                self._modules = brought
                sys.modules.update(aside)

    def digest(self, source: bytes) -> str:
        """sha256 over the code and the files that were brought in; "" without any.

        These are the local modules that were run or that import statements name, and the files that the code has read.

        Args:
            source: of the file itself.
        """
        self._name_all(source)
        lines = {f"{name} {hashlib.sha256(own).hexdigest()}\n" for (name, _), own in self.sources.items()}
        lines |= self._files.lines(self._folder, {*self._own, *(os.path.abspath(path) for _, path in self.sources)})
        if not lines:
            return ""
        return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        if not level and _is_shared(name.partition(".")[0]):  # a forward pass may do this often
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        with self.entered():
            return builtins.__import__(name, globals, locals, fromlist or (), level)

    def _loading(self, ordinary: Callable[..., None]) -> Callable[..., None]:
        def exec_module(loader: SourceFileLoader, module: ModuleType) -> None:
            path = loader.get_filename(module.__name__)
            if not self.is_local(path) or module.__name__.partition(".")[0] in _LIBRARIES:
                ordinary(loader, module)
                return
            source = read_source(Path(path))
            self.sources[module.__name__, path] = source
            self.run(module, source, path)

        return exec_module

    def _ours(self, known: Collection[str] | None = None) -> dict[str, ModuleType]:
        """The modules that are to be kept apart; those whose names are not among the known ones are new."""
        found: dict[str, ModuleType] = {}
        # There are thousands, each time: no pairs, which would set off the garbage collector, and few calls.
        for name in list(sys.modules):
            module = sys.modules.get(name)
            new = known is not None and name not in known
            if module is not None and _staying.get(name) is not module and self._is_ours(name, module, new=new):
                found[name] = module
        return found

    def _is_ours(self, name: str, module: Any, *, new: bool = False) -> bool:
        """Whether a module is local and to be kept apart, or a local one of its name would be meant.

        One from elsewhere that was there before is left alone: others have brought it in.
        """
        top = name.partition(".")[0]
        if top in _NEVER_APART:
            _staying[name] = module
            return False
        places = _places(module)
        if any(is_installed(place) or place.endswith(_COMPILED) for place in places):
            _staying[name] = module
            return False
        if not places:
            return False
        return new or any(real(place).startswith(self._roots) for place in places) or _stands_in(self._folder, top)

    def is_local(self, path: str) -> bool:
        """Whether a file is the user's own, that is: not installed; a name for code without one is no file."""
        return os.path.isabs(path) and not is_installed(path)

    def _name_all(self, source: bytes) -> None:
        """Adds the modules that import statements anywhere in the code name: a forward pass may be the first to run."""
        importlib.invalidate_caches()
        known = {name for name, _ in self.sources}
        unread = [("", source), *((name, content) for (name, _), content in self.sources.items())]
        while unread:
            for name in _named(*unread.pop()):
                path = None if name in known else self._found(name)
                if path is not None and self.is_local(path):
                    known.add(name)
                    with suppress(OSError):
                        content = read_regular(Path(path), _LARGEST_COMPILED)
                        self.sources[name, path] = content
                        unread.append((name, content))

    def _found(self, name: str) -> str | None:
        """The file that a module's name stands for, found without running anything."""
        if _is_shared(name.partition(".")[0]):
            return None
        places: Any = self._path or [self._folder, *sys.path]
        path = None
        for depth in range(1, name.count(".") + 2):
            found = PathFinder.find_spec(".".join(name.split(".")[:depth]), places)
            if found is None:
                return None
            path, places = found.origin, list(found.submodule_search_locations or ())
        return path


def _places(module: Any) -> list[str]:
    """The file of a module, or the folders of a package without one."""
    try:
        file = getattr(module, "__file__", None)
        return [file] if isinstance(file, str) else [str(place) for place in getattr(module, "__path__", ())]
    except Exception:  # what others put into sys.modules may do anything when it is asked
        return []


def _is_shared(name: str) -> bool:
    """Whether an import of that name means the same module for all."""
    if name in _LIBRARIES or name in sys.stdlib_module_names:
        return True
    places = _places(sys.modules.get(name))
    return bool(places) and all(is_installed(place) for place in places)


def _stands_in(folder: str, name: str) -> bool:
    return any(os.path.exists(os.path.join(folder, name + ending)) for ending in (".py", ""))


def _named(package: str, source: bytes) -> Iterable[str]:
    """The names that the import statements of a module may stand for, packages before what lies in them."""
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield from _upwards(alias.name)
            elif isinstance(node, ast.ImportFrom):
                # Whether the module is a package is not known here, so what is relative is looked for in both ways.
                for start in _starts(package, node.level):
                    base = ".".join(part for part in (start, node.module) if part)
                    yield from _upwards(base)
                    yield from (f"{base}.{alias.name}" for alias in node.names if base and alias.name != "*")


def _upwards(name: str) -> Iterable[str]:
    parts = name.split(".") if name else []
    return (".".join(parts[: depth + 1]) for depth in range(len(parts)))


def _starts(package: str, level: int) -> list[str]:
    if not level:
        return [""]
    parts = package.split(".") if package else []
    return [".".join(parts[: len(parts) - level + more]) for more in (0, 1) if len(parts) - level + more > 0]
