"""The command line as a user runs it, in a process of its own."""

import sys

from pixtral_cli.__main__ import main
from pixtral_cli.cli import app, serve

for command in (serve.serve, serve.ps, serve.stop, serve.login):
    if command not in [known.callback for known in app.registered_commands]:
        app.command()(command)

main(sys.argv[1:])
