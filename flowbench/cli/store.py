"""``flowbench store``: the database file itself."""

from __future__ import annotations

import sys

import typer

from flowbench import paths
from flowbench.cli.columns import visible
from flowbench.cli.options import Results
from flowbench.cli.quantities import count_text

app = typer.Typer(help="Rebuild, migrate and verify the database.", no_args_is_help=True)


@app.command("rebuild")
def rebuild(results: Results = None) -> None:
    """Recreate the database from the attempts' own records, and from those kept as text."""
    from flowbench.store.rebuild import rebuild

    folder = paths.results_dir(results)
    done = rebuild(folder, report=_report)
    read = count_text(done.attempts, "attempt")
    print(f"rebuilt {folder}: {read} read, {done.carried_over} carried over")
    if done.problems:
        aside = count_text(done.problems, "record")
        print(f"{aside} or parts of them set aside; each is named above")
    if done.kept_aside is not None:
        print(f"the old database, which cannot be read here, is kept as {done.kept_aside}")


@app.command("migrate")
def migrate(results: Results = None) -> None:
    """Bring the database to the current schema."""
    from flowbench.store.connection import migrate

    print(f"schema version {migrate(paths.results_dir(results))}")


@app.command("verify")
def verify(results: Results = None) -> None:
    """Compare the database with the attempts' own records, and with those kept as text."""
    from flowbench.store.verify import verify

    found = verify(paths.results_dir(results))
    for problem in (*found.differences, *found.unreadable):
        _report(problem)
    print(
        f"{count_text(found.attempts, 'attempt')} compared, "
        f"{count_text(len(found.differences), 'difference')}, "
        f"{len(found.unreadable)} unreadable, {len(found.only_stored)} only in the database"
    )
    if found.differences:
        _report(f"flowbench store rebuild mends the {len(found.differences)} differences")
    if found.unreadable:
        _report(
            f"no command mends the {len(found.unreadable)} unreadable files: put a copy in their "
            "place, or run the job again (flowbench run ... --rerun all); the rest is not harmed"
        )
    if found.differences or found.unreadable:
        raise typer.Exit(1)


def _report(problem: str) -> None:
    print(visible(problem), file=sys.stderr)
