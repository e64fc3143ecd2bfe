import type { NotebookPanel } from '@jupyterlab/notebook';
import type { Kernel } from '@jupyterlab/services';

import { insertBelow } from './cells';
import { control } from './control';
import { latest } from './news';

/** The comm target that `%load_ext nbpeft` opens (nbpeft/page.py). */
const TARGET = 'nbpeft';
const PATIENCE = 1000; // milliseconds in which a kernel that is free says which comms are open

/**
 * Answer nbpeft in whichever kernel the notebook has: a page that answers shows its widgets.
 *
 * Not on the comm itself: Run All has filled the kernel's queue with the cells that come next.
 */
export function greet(panel: NotebookPanel): void {
  const session = panel.sessionContext;
  const meet = (kernel: Kernel.IKernelConnection | null | undefined) => {
    if (!kernel) {
      return;
    }
    kernel.registerCommTarget(TARGET, comm => {
      listen(panel, kernel, comm);
      void control(kernel, 'nbpeft_hello');
    });
    kernel.statusChanged.connect((_, status) => {
      if (status === 'restarting' || status === 'dead') {
        latest.forget(kernel);
      }
    });
    void meetAgain(panel, kernel, () => {
      const specs = session.specsManager.specs?.kernelspecs;
      return specs?.[kernel.name]?.language === 'python';
    });
  };
  session.kernelChanged.connect((_, change) => meet(change.newValue));
  meet(session.session?.kernel);
}

/**
 * A page that was loaded anew asks whether nbpeft opened its comm to the one before.
 *
 * While a cell runs that isn't answered: what is asked of comms waits for its end. Then hello goes
 * by itself, to Python's kernels alone; one without nbpeft notes that it doesn't know it.
 */
async function meetAgain(
  panel: NotebookPanel,
  kernel: Kernel.IKernelConnection,
  python: () => boolean
): Promise<void> {
  const late = setTimeout(async () => {
    if (!kernel.isDisposed && python()) {
      const { comm } = await control(kernel, 'nbpeft_hello');
      hearOn(panel, kernel, comm ? [comm] : []);
    }
  }, PATIENCE);
  const { content } = await kernel.requestCommInfo({ target_name: TARGET });
  clearTimeout(late);
  hearOn(panel, kernel, content.status === 'ok' ? Object.keys(content.comms) : []);
}

/** Listen on comms that are open, and say so: hello is answered with how things stand. */
function hearOn(panel: NotebookPanel, kernel: Kernel.IKernelConnection, comms: string[]): void {
  const unheard = comms.filter(id => !kernel.hasComm(id));
  for (const id of unheard) {
    listen(panel, kernel, kernel.createComm(TARGET, id));
  }
  if (unheard.length) {
    void control(kernel, 'nbpeft_hello');
  }
}

function listen(panel: NotebookPanel, kernel: Kernel.IKernelConnection, comm: Kernel.IComm): void {
  comm.onMsg = message => {
    const told = message.content.data as any;
    if (told?.insert) {
      insertBelow(panel, told.insert.source, told.insert.below);
    } else {
      latest.hear(kernel, told);
    }
  };
  comm.onClose = () => latest.forget(kernel);
}
