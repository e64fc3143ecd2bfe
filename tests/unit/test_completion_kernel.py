"""Tab in a real kernel, as JupyterLab asks for it."""

from completions import check
from kernels import Kernel


def test_completion_in_a_kernel(working_folder):
    kernel = Kernel(working_folder)
    try:
        check(kernel)
    finally:
        kernel.stop()
