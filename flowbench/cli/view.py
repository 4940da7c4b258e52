"""``flowbench view``: a results folder in the browser."""

from __future__ import annotations

from typing import Annotated

import typer

from flowbench import paths
from flowbench.cli.options import Results

HOST = "127.0.0.1"


def view(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8321,
    results: Results = None,
) -> None:
    """Show a results folder in the browser, live while jobs run; it only reads.

    It listens on this machine alone (from another: ssh -L 8321:127.0.0.1:8321 HOST).
    """
    from flowbench.errors import PluginLoadError

    try:
        import uvicorn
    except ImportError as exc:
        raise PluginLoadError("uvicorn is not installed; pip install 'flowbench[view]'") from exc
    from flowbench.cli.view_server import application

    folder = paths.results_dir(results).resolve()
    config = uvicorn.Config(application(folder), host=HOST, port=port, log_level="warning")
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    print(f"http://{HOST}:{socket.getsockname()[1]}/ shows {folder} (Ctrl-C ends)", flush=True)
    server.run(sockets=[socket])
