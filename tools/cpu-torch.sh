#!/bin/sh
# Give a Python a CPU build of torch, unless it can import one already.
# usage: sh tools/cpu-torch.sh PYTHON
# Plain `pip install torch` would bring gigabytes of CUDA libraries on Linux. The CPU wheel is taken from
# where pip is told to look, if it is there; else by uv, which knows where torch's own index is; and where
# neither reaches one (a closed network), whatever pip finds.
set -eu
python=$1
version=$(sed -n 's/^torch==//p' "$(dirname "$0")/../constraints.txt")

if "$python" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)'; then
    exit 0
fi
"$python" -m pip install -qq "torch==$version+cpu" 2>/dev/null && exit 0
"$python" -m pip install -qq uv
"$python" -m uv pip install -q --python "$python" --torch-backend=cpu "torch==$version" && exit 0
echo "torch's own index is out of reach; taking the torch that pip finds (on Linux with CUDA, some GB)" >&2
exec "$python" -m pip install -q "torch==$version"
