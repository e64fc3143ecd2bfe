import type { ISessionContext } from '@jupyterlab/apputils';
import type { Kernel } from '@jupyterlab/services';

import { control } from './control';
import { latest } from './news';

/** The comm target that `%load_ext nbpeft` opens (nbpeft/page.py). */
const TARGET = 'nbpeft';

/**
 * Answer nbpeft in whichever kernel the notebook has: a page that answers shows its widgets.
 *
 * Not on the comm itself: Run All has filled the kernel's queue with the cells that come next.
 */
export function greet(session: ISessionContext): void {
  const meet = (kernel: Kernel.IKernelConnection | null | undefined) => {
    if (!kernel) {
      return;
    }
    kernel.registerCommTarget(TARGET, comm => {
      listen(kernel, comm);
      void control(kernel, 'nbpeft_hello');
    });
    kernel.statusChanged.connect((_, status) => {
      if (status === 'restarting' || status === 'dead') {
        latest.forget(kernel);
      }
    });
    void meetAgain(kernel);
  };
  session.kernelChanged.connect((_, change) => meet(change.newValue));
  meet(session.session?.kernel);
}

/** A page that was loaded anew asks whether nbpeft opened its comm to the one before. */
async function meetAgain(kernel: Kernel.IKernelConnection): Promise<void> {
  const { content } = await kernel.requestCommInfo({ target_name: TARGET });
  if (content.status === 'ok' && Object.keys(content.comms).length) {
    for (const id of Object.keys(content.comms)) {
      listen(kernel, kernel.createComm(TARGET, id));
    }
    await control(kernel, 'nbpeft_hello');
  }
}

function listen(kernel: Kernel.IKernelConnection, comm: Kernel.IComm): void {
  comm.onMsg = message => latest.hear(kernel, message.content.data);
  comm.onClose = () => latest.forget(kernel);
}
