"""Options that several commands share."""

from typing import Annotated

import typer

Master = Annotated[
    str | None,
    typer.Option(help="Spark master: local[N], spark://…, yarn, k8s://… (default: local with all cores)"),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Change a setting, such as pack.sequence_length=1024.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Out = Annotated[str, typer.Option(help="Folder for the result.")]
