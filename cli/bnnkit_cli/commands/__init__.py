"""One module per command, named like it; each exposes a function of that name, or `app` when it has subcommands."""
