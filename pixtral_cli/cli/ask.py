"""`pixtral ask`: one question on the command line. What it does, `terminal.once` knows; which engine, `engines`."""

from typing import Annotated

import typer

from pixtral_cli.cli import options


def ask(
    question: Annotated[
        str, typer.Argument(help="The question; text on stdin is added to it.", show_default=False)
    ] = "",
    image: options.Images = None,
    model: options.Model = None,
    system: options.System = None,
    output: options.Output = None,
    extract: Annotated[
        str | None,
        typer.Option(
            "--extract", "-x", metavar="LANG", help="Only the code block in this language; any takes the first."
        ),
    ] = None,
    format: options.Format = options.OutputFormat.text,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    max_tokens: options.MaxTokens = None,
    seed: options.Seed = None,
    stop: options.Stop = None,
    engine: options.EngineName = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and show what would be sent; load no weights.")
    ] = False,
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Show the answer when it is whole.")] = False,
    no_stdin: Annotated[bool, typer.Option("--no-stdin", help="Do not read stdin.")] = False,
    plain: options.Plain = False,
    offline: options.Offline = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Ask one question, about images or about text.

    The answer goes to stdout, everything else to stderr. {1} and {2} in the question place images inside it.
    """
    import sys
    from contextlib import closing

    from pixtral_cli import config
    from pixtral_cli.chat.conversation import Conversation
    from pixtral_cli.cli.opening import choose_model, open_chosen, sampling
    from pixtral_cli.terminal import once
    from pixtral_cli.terminal.output import choose

    settings = config.load().override(
        system=system, temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed,
        engine=engine, device=device, dtype=dtype, offline=offline or None, plain=plain or None,
    )  # fmt: skip
    chosen, settings = choose_model(model, settings)
    out = choose(format=format.value, plain=bool(settings.plain), stream=not no_stream, quiet=quiet, model=chosen.name)
    request = once.Request(
        question, image or (), sampling(settings, chosen.name, stop), not no_stdin, extract or "", output,
        verbose, bool(settings.offline),
    )  # fmt: skip
    asked = once.message(request, out, sys.stdin)
    if chosen.note:
        out.note(chosen.note)
    with closing(open_chosen(chosen, settings)) as who:
        (once.preview if dry_run else once.answer)(request, asked, Conversation(settings.system), who, out)
