"""A source folder of a PEFT whose HRA is rewritten, made of the installed one."""

from pathlib import Path

import peft

VERSION = "0.20.1.dev0+stand.in"  # of a development version, which says little of what it can do
HRA = Path("tuners/hra")
WRITTEN = {Path("__init__.py"), HRA.parent, HRA, HRA / "layer.py"}


def write_sources(folder: Path) -> None:
    """Write src/peft: links to the installed PEFT's files, but with the stand-in as its HRA's layers."""
    installed, source = Path(peft.__file__).parent, folder / "src/peft"
    for part in (Path(), HRA.parent, HRA):
        (source / part).mkdir(parents=True)
        for path in (installed / part).iterdir():
            if path.name != "__pycache__" and path.relative_to(installed) not in WRITTEN:
                (source / part / path.name).symlink_to(path)
    (source / HRA / "released.py").symlink_to(installed / HRA / "layer.py")
    (source / HRA / "layer.py").symlink_to(Path(__file__).with_name("layer.py"))
    init = (installed / "__init__.py").read_text()
    (source / "__init__.py").write_text(init.replace(f'"{peft.__version__}"', f'"{VERSION}"'))
