"""Runs one notebook in a fresh kernel and tells about it, one JSON line an event, on standard output.

usage: run_notebook.py NOTEBOOK OUT.ipynb KERNEL BUDGET_SECONDS

The events: {"event": "kernel"}, {"event": "start", "cell": i}, {"event": "done", "cell": i, "seconds": s},
{"event": "error", "cell": i, "name": n, "message": m, "traceback": t}, {"event": "timeout", "cell": i}, {"event": "end"}.
The executed copy is written whatever happened, so that a reader sees how far it came.
"""

import asyncio
import json
import os
import queue
import re
import signal
import sys
import time

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError

# The Deno kernel says "idle" before its outputs have left it (denoland/deno, cli/js/jupyter_kernel.js): what arrives
# within this silence still belongs to the cell, because the next one has not begun.
QUIET_SECONDS = 0.25
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def tell(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


class Client(NotebookClient):
    async def late_outputs(self, cell, index):
        parent = self.last_parent
        while True:
            try:
                message = await self.kc.get_iopub_msg(timeout=QUIET_SECONDS)
            except queue.Empty:
                return
            if message["parent_header"].get("msg_id") == parent:
                self.process_message(message, cell, index)


async def run(path, out, kernel, budget):
    notebook = nbformat.read(path, as_version=4)
    begun = time.monotonic()
    client = Client(
        notebook,
        kernel_name=kernel,
        allow_errors=True,  # judged below from the reply: the error's own output may come late
        timeout_func=lambda cell: max(1, int(budget - (time.monotonic() - begun))),
        resources={"metadata": {"path": os.path.dirname(os.path.abspath(path))}},
    )
    reply = {}
    client.on_cell_executed = lambda cell, cell_index, execute_reply: reply.update(execute_reply)
    failed = False
    try:
        async with client.async_setup_kernel():
            tell("kernel")
            for index, cell in enumerate(notebook.cells):
                if cell.cell_type != "code" or not cell.source.strip():
                    continue
                tell("start", cell=index)
                start = time.monotonic()
                reply.clear()
                try:
                    await client.async_execute_cell(cell, index)
                except CellTimeoutError:
                    tell("timeout", cell=index)
                    failed = True
                    break
                except DeadKernelError:
                    tell("error", cell=index, name="DeadKernel", message="the kernel died", traceback="")
                    failed = True
                    break
                client.last_parent = reply["parent_header"]["msg_id"]
                await client.late_outputs(cell, index)
                content = reply["content"]
                if content["status"] == "ok":
                    tell("done", cell=index, seconds=time.monotonic() - start)
                    continue
                trace = ANSI.sub("", "\n".join(content.get("traceback", [])))
                if not any(o.output_type == "error" for o in cell.outputs):
                    cell.outputs.append(nbformat.v4.new_output(
                        "error", ename=content["ename"], evalue=content["evalue"], traceback=content["traceback"]))
                if "raises-exception" in cell.metadata.get("tags", []):
                    tell("done", cell=index, seconds=time.monotonic() - start)
                    continue
                tell("error", cell=index, name=content["ename"], message=content["evalue"], traceback=trace)
                failed = True
                break
    finally:
        nbformat.write(notebook, out)
    tell("end")
    return 1 if failed else 0


def stop(*_):
    raise KeyboardInterrupt


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    signal.signal(signal.SIGTERM, stop)
    try:
        sys.exit(asyncio.run(run(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))))
    except KeyboardInterrupt:
        sys.exit(130)
