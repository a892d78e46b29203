import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAM = """
import os, sys, time
import runpy  # the module alone: a process that imports jax takes seconds
globals().update(runpy.run_path("jaxgan/runs/streams.py"))
open_standard_streams()
with forgiving():
    for _ in range(3):
        print("x" * 10_000)
        print("error", file=sys.stderr)
print("after")
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
os.write(file, b"file")
os.write(2, b"complaint")
"""


@pytest.mark.parametrize(
    "redirection",
    [
        "2>&1 | true",
        *(pytest.param(other, marks=pytest.mark.slow) for other in (">/dev/full 2>&1", ">&- 2>&-", ">/dev/null")),
    ],
)
def test_output_that_cannot_be_shown_ends_nothing(tmp_path, redirection):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    program = f'("$0" -c "$1" "$2"; echo $? >"$3") {redirection}'
    names = [sys.executable, PROGRAM, str(tmp_path / "file"), str(tmp_path / "status")]
    if redirection != "2>&1 | true":
        program = f'"$0" -c "$1" "$2" {redirection}; echo $? >"$3"'
    subprocess.run(["sh", "-c", program, *names], cwd=ROOT, stderr=subprocess.DEVNULL, check=True)
    assert (tmp_path / "status").read_text() == "0\n"
    assert (tmp_path / "file").read_bytes() == b"file"
