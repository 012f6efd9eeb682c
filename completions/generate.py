"""Write the completion scripts of every shell beside this file, or with --check fail when one of them is stale."""

import sys
from pathlib import Path

from pixtral_cli.cli.completion import Shell, script

FILES = {Shell.bash: "pixtral.bash", Shell.zsh: "_pixtral", Shell.fish: "pixtral.fish", Shell.powershell: "pixtral.ps1"}


def main() -> int:
    here = Path(__file__).parent
    wanted = {here / name: script(shell) + "\n" for shell, name in FILES.items()}
    if "--check" in sys.argv[1:]:
        stale = [file.name for file, text in wanted.items() if not file.exists() or file.read_text() != text]
        if stale:
            print(f"stale: {', '.join(stale)}. Run: make completions", file=sys.stderr)
        return 1 if stale else 0
    for file, text in wanted.items():
        file.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
