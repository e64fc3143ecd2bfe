"""The order of rows: nbpeft's own where it pads them, so that rows of one length go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbpeft.fitting.way import way_of
from nbpeft.objectives._scored import changes_loss

if TYPE_CHECKING:
    from nbpeft.prepare import Prepared

BY_LENGTH = '''class ByLength(LengthGroupedSampler):
    """Rows of about one length together, in an order that the seed and the epoch decide."""

    epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        source = torch.Generator().manual_seed(SEED + self.epoch)
        return iter(get_length_grouped_indices(self.lengths, self.batch_size, generator=source))'''

SAMPLER = '''    def _get_train_sampler(self, dataset=None):
        """Less padding than in TRL's order."""
        rows = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return ByLength(rows, lengths=[len(row) for row in self.train_dataset["COLUMN"]])'''


def grouped(ready: Prepared, *, soft: bool, head: bool) -> bool:
    """Whether nbpeft pads the rows of a run, and so sorts them by their length.

    Args:
        soft: whether a prompt is put before them, which can't be packed.
        head: whether the loss is a head's, which all settings leave as it is.
    """
    settings = ready.settings.trainer
    if "train_sampling_strategy" in settings:
        return False
    if soft or (not head and changes_loss(settings, ready.objective.config_class())):
        return True
    return way_of(ready.handle, ready.plan.state, int(settings["max_length"])).way != "packed"
