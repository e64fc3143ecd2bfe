#!/bin/sh
# Make or complete a virtual environment with CPU torch, nbpeft in place (editable) and what its tests need.
# usage: PYTHON=python3 sh tools/venv.sh FOLDER CONSTRAINTS EXTRAS [PACKAGE...]
#   sh tools/venv.sh .venv constraints.txt '[test,lab]'
# A Python that has torch keeps it: the environment sees that Python's packages and installs none over it.
set -eu
folder=$1 constraints=$2 extras=$3
shift 3
python=${PYTHON:-python3}

if [ ! -x "$folder/bin/python" ]; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "$python is $("$python" --version 2>&1), nbpeft needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2
        exit 1
    }
    site=$("$python" -c 'import importlib.util as u; print("--system-site-packages" if u.find_spec("torch") else "")')
    # shellcheck disable=SC2086  # no word at all when it is empty
    "$python" -m venv $site "$folder" || {
        echo "$python cannot make virtual environments (Debian: apt-get install python3-venv)" >&2
        exit 1
    }
    if [ -n "$site" ]; then # and where that Python is a virtual environment's, its packages too
        get='import sysconfig; print(sysconfig.get_path("purelib"))'
        "$python" -c "$get" >"$("$folder/bin/python" -c "$get")/outer.pth"
    fi
fi
here="$folder/bin/python"
echo "setting up $folder (once; a few minutes)"
sh "$(dirname "$0")/cpu-torch.sh" "$here"
# The torch that is there stays, whichever it is.
{
    grep -v '^torch==' "$constraints"
    "$here" -c 'import importlib.metadata as m; print("torch==" + m.version("torch"))'
} >"$folder/constraints.txt"
"$here" -m pip install -qq --disable-pip-version-check -c "$folder/constraints.txt" -e ".$extras" "$@"
