"""The same prompts put to several adapters: a row a prompt, a column an adapter.

`request` says what can be asked for, `questions` finds the prompts, `baselines` what the base is
given in place of training (`nbpeft.data.prompting` puts it around them); `columns` says who
answers, `asking` which of them go into one generate, `answers` generates, `figures` and `result`
are what comes out.
"""

from nbpeft.comparison.asking import compare
from nbpeft.comparison.figures import Figures
from nbpeft.comparison.request import CompareRequest, Prompt
from nbpeft.comparison.result import Comparison

__all__ = ["CompareRequest", "Comparison", "Figures", "Prompt", "compare"]
