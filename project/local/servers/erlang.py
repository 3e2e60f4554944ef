"""Makes an unpacked Erlang run from wherever it lies.

Debian's `erl` and `start` scripts name `/usr/lib/erlang` outright; here they learn to find their own root. The rest of
Erlang looks up everything from that root.
"""

from pathlib import Path

DEBIAN_ROOT = "/usr/lib/erlang"


def make_relocatable(tree: Path) -> None:
    """Rewrite the scripts of the Erlang below `tree`, an unpacked package tree; one without Erlang is left alone."""
    root = tree / DEBIAN_ROOT.lstrip("/")
    for script in [*root.glob("bin/*"), *root.glob("erts-*/bin/*")]:
        if script.is_file() and not script.is_symlink() and _is_shell_script(script):
            _rewrite(script, levels_below_root=len(script.relative_to(root).parts))


def _is_shell_script(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(9) == b"#!/bin/sh"


def _rewrite(script: Path, *, levels_below_root: int) -> None:
    own_root = '"$(readlink -f "$0")"'
    for _ in range(levels_below_root):
        own_root = f'"$(dirname {own_root})"'
    text = script.read_text().replace(f"ROOTDIR={DEBIAN_ROOT}", f"ROOTDIR={own_root}")
    script.write_text(text)
