"""Answer requests on standard input, each by a Snakemake in a fork of this process, which has imported it.

A request is a line of JSON: `arguments`, `folder`, `environment` and `output`, the file to print to. The answer is the
exit status, a line on standard output. No part of the workflow may be imported here, since tests change it.
"""

import gc
import json
import os
import sys

import jsonschema  # noqa: F401 the Snakefile imports it
import pandas  # noqa: F401
import smart_open  # noqa: F401
from snakemake.cli import get_argument_parser, main

get_argument_parser()  # imports the plugins
gc.disable()  # a collection visits, and so copies, all memory that a fork shares: a third of the time of a dry run
for line in sys.stdin:
    request = json.loads(line)
    if not (child := os.fork()):
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.path[:0] = ["", *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        output = os.open(request["output"], os.O_WRONLY | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        main(request["arguments"])  # raises SystemExit
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
