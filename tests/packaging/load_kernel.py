"""Loads the installed package's kernel without torch and prints the instruction sets in it, and which this processor has."""

import ctypes
import importlib.util
from pathlib import Path


def main() -> None:
    package = importlib.util.find_spec("pixtral_cli")
    assert package
    assert package.origin
    [file] = Path(package.origin).parent.glob("engines/local/kernels/_cpu*.so")
    library = ctypes.CDLL(str(file))
    library.pixtral_instruction_set.restype = ctypes.c_char_p
    index, able = 0, 0
    while name := library.pixtral_instruction_set(index):
        able += library.pixtral_supported(index)
        print(name.decode(), bool(library.pixtral_supported(index)))
        index += 1
    assert able, "nothing for this processor"


if __name__ == "__main__":
    main()
