"""Runs a search of `owq amq` on a Ray cluster: rounds are cut into shards, shards are Ray tasks, their lines come back as text.

    python amq_on_ray.py --out DIR --name amq [--workers 2] [--address ray://head:10001] [--kit /path/of/the/clone/on/each/node]

DIR holds a search that was begun with `deno task owq amq search --out DIR --begin`. The archive in DIR is the same, byte for
byte, as that of `owq amq search` in one process: which worker evaluated a point, and how often one was lost, leaves no trace.
Nodes need no common file system: a task gets the round as text and gives its lines back as text. What each node needs is the
kit, its Deno, and the model by the same SPEC. A worker that dies takes its task with it; Ray starts the task again elsewhere
(`max_retries`), and what is still missing then is asked for in the next step.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import ray

KIT = pathlib.Path(__file__).resolve().parents[3]


def owq(kit, deno, *arguments):
    """One call of `owq amq … --json`; its object."""
    command = [deno, "run", "-A", str(pathlib.Path(kit, "lib/lab/commands/owq.ts")), "amq", *arguments, "--json"]
    done = subprocess.run(command, cwd=kit, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"owq amq ended with {done.returncode}")
    return json.loads(done.stdout)


@ray.remote(max_retries=5)
def evaluate(kit, deno, text, shard, pid_folder):
    """Evaluates one shard of a round, on whatever node Ray chose. Returns its lines."""
    if pid_folder:
        pathlib.Path(pid_folder, f"{shard.replace('/', '-of-')}.{time.time_ns()}").write_text(str(os.getpid()))
    with tempfile.TemporaryDirectory() as folder:
        path, lines = pathlib.Path(folder, "round.json"), pathlib.Path(folder, "lines.jsonl")
        path.write_text(text)
        found = owq(kit, deno, "evaluate", str(path), "--shard", shard, "--lines", str(lines))
        return {"shard": shard, "node": ray.util.get_node_ip_address(), "pid": os.getpid(), "lines": found["lines"]}


def search(out, name, workers, kit, deno, pid_folder):
    """Rounds until nothing is left to evaluate; archives of `name` in `out`."""
    tasks = retried = 0
    while True:
        asked = owq(KIT, deno, "ask", "--out", out, "--name", name)
        step = asked["next"]
        if step is None:
            print(f"{name}: done, {asked['evaluations']} evaluations, {tasks} tasks, {retried} steps asked for again", flush=True)
            return
        text = pathlib.Path(step["file"]).read_text()
        shards = min(workers, step["missing"])
        print(f"{name}: round {step['round']}, {step['missing']} points in {shards} shards", flush=True)
        pending = [evaluate.remote(kit, deno, text, f"{i + 1}/{shards}", pid_folder) for i in range(shards)]
        tasks += shards
        folder = pathlib.Path(out, "lines")
        folder.mkdir(exist_ok=True)
        failed = []
        while pending:
            ready, pending = ray.wait(pending, num_returns=1)
            try:
                result = ray.get(ready[0])
            except ray.exceptions.RayError as error:
                failed.append(error)
                continue
            part = result["shard"].replace("/", "-of-")
            path = folder / f"{name}.round-{step['round']}.{part}.{time.time_ns()}.jsonl"
            path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in result["lines"]))
            print(f"  shard {result['shard']}: {len(result['lines'])} lines from process {result['pid']}", flush=True)
        for error in failed:
            retried += 1
            print(f"  a shard was lost for good ({type(error).__name__}); its points are asked for again", flush=True)
            if isinstance(error, ray.exceptions.RayTaskError) or retried > 20:
                raise error


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder of the study")
    parser.add_argument("--name", action="append", help="archive to fill, in this order; scan and amq by default")
    parser.add_argument("--workers", type=int, default=2, help="shards a round; 2 by default")
    parser.add_argument("--address", help="of a running cluster; a local one is started by default")
    parser.add_argument("--kit", default=str(KIT), help="folder of the kit on the nodes")
    parser.add_argument("--deno", default="deno", help="Deno on the nodes")
    parser.add_argument("--pids", help="for tests: each task writes its process id into a file of this folder")
    given = parser.parse_args()
    if given.address:
        ray.init(address=given.address, log_to_driver=False)
    else:
        ray.init(num_cpus=given.workers, include_dashboard=False, log_to_driver=False, configure_logging=False)
    print(f"ray {ray.__version__}, {given.workers} workers", flush=True)
    try:
        for name in given.name or ["scan", "amq"]:
            search(given.out, name, given.workers, given.kit, given.deno, given.pids)
    except (RuntimeError, ray.exceptions.RayTaskError) as error:
        sys.exit(str(getattr(error, "cause", None) or error))
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
