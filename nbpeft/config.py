"""The settings that `%config NbPeft` shows and sets."""

from __future__ import annotations

from traitlets import Bool, Dict, Float, Int, Unicode
from traitlets.config import SingletonConfigurable


class NbPeft(SingletonConfigurable):
    """nbpeft's settings: `%config NbPeft.keep_versions = 5`."""

    adapters_dir = Unicode(
        "adapters", help="The shelf: where adapters are kept, relative to the working folder."
    ).tag(config=True)
    keep_versions = Int(
        3, min=0, help="How many earlier versions of a name stay on the shelf (NAME@1, …)."
    ).tag(config=True)
    checkpoint_minutes = Float(
        10.0,
        min=0.0,
        help="A run's state is put on the shelf every so many minutes while it goes on, so that "
        "--resume can finish it should the kernel be killed; 0: never.",
    ).tag(config=True)
    samples = Bool(
        True,
        help="Whether a run answers one prompt of the data before training and now and then while "
        "it goes on; prompt and answers are shown, and saved with the notebook.",
    ).tag(config=True)
    widgets = Bool(
        True,
        help="Whether runs and comparisons are shown as widgets where the page is sure to have "
        "them (JupyterLab and Notebook 7 with nbpeft's extension, VS Code); else as HTML.",
    ).tag(config=True)
    defaults = Dict(
        help="Settings for every run that neither the line nor the body gives, by the same words: "
        "%config NbPeft.defaults = {'rank': 8}"
    ).tag(config=True)


def settings() -> NbPeft:
    """The one set of settings in this kernel."""
    return NbPeft.instance()
